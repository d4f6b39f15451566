-- Takes messages and records each as held, in one step: a message is always in its list or in the record.
-- KEYS: unacked, unacked_index, the owner's heartbeat, revision of what is revoked, then the lists of each portion, the most
-- urgent first
-- ARGV: tag prefix, first number, most messages, most bytes, first lease in ms, then for each list: tag suffix, record tail; then
-- for each portion, as one text: how many lists it has, its share, the most that it may have
-- Answer: the revision, the time, whether there may be more, from which lists how many messages came (number of a list, count,
-- ...), how long each is, and all of them as one text. What has numbers from the first one on needs no tags in the answer.
local unacked, index, heartbeat = KEYS[1], KEYS[2], KEYS[3]
local prefix, number, most, room, lease = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]

-- The most messages in one command: few enough to be its arguments.
local MOST_AT_ONCE = 100

local time = redis.call('TIME')
local now = string.format('%d.%06d', time[1], time[2])
-- Here as well Redis tells this client when what was read changes.
local revision = redis.call('GET', KEYS[4]) or '0'
local lists, lengths, taken, trouble = {}, {}, {}, nil

local function failed(answer)
  return type(answer) == 'table' and answer.err
end

local is_empty = {}

-- Takes so many messages from one list, if there are so many; answers how many it was, or an error.
local function take(i, wanted)
  local list, suffix, tail = KEYS[i], ARGV[2 * i - 4], ARGV[2 * i - 3]
  local count = 0
  -- How large messages are is known only once they are there. So they come by ones, then by fours, and so on, as long as the
  -- largest so far would fit in that number.
  local at_once, largest = 1, 1
  while wanted > count and most > 0 and room > 0 do
    at_once = math.min(at_once, most, wanted - count)
    -- RPOP comes first because a script may go on writing when memory is full only once it has written.
    local messages = redis.pcall('RPOP', list, at_once)
    if not messages then is_empty[i] = true; break end
    -- One key that is no list must not hide the queues behind it.
    if failed(messages) then
      -- What a tenant makes of its own key is nothing for all to wait for.
      local is_own_doing = string.find(list, '/', 1, true) and string.sub(messages.err, 1, 9) == 'WRONGTYPE'
      if not is_own_doing then trouble = trouble or messages end
      is_empty[i] = true
      break
    end

    local tags, records, places = {}, {}, {}
    for n, message in ipairs(messages) do
      -- As long as this the tags of one owner sort as they were given out.
      local tag = prefix .. string.format('%012d', number) .. suffix
      tags[n] = tag
      records[2 * n - 1], records[2 * n] = tag, '[' .. message .. tail
      places[2 * n - 1], places[2 * n] = now, tag
      number, most, room, largest = number + 1, most - 1, room - #message, math.max(largest, #message)
    end
    local recorded = redis.pcall('HSET', unacked, unpack(records))
    if not failed(recorded) then recorded = redis.pcall('ZADD', index, unpack(places)) end
    if failed(recorded) then
      redis.pcall('HDEL', unacked, unpack(tags))
      for n = #messages, 1, -1 do redis.call('RPUSH', list, messages[n]) end
      return count, recorded
    end
    count = count + #messages
    lists[#lists + 1], lists[#lists + 2] = i - 4, #messages
    for _, message in ipairs(messages) do lengths[#lengths + 1], taken[#taken + 1] = #message, message end
    if #messages < at_once then is_empty[i] = true; break end
    at_once = math.max(1, math.min(4 * at_once, MOST_AT_ONCE, math.floor(room / largest)))
  end
  return count
end

local portions, list = {}, 5
for p = 2 * #KEYS - 2, #ARGV do
  local its_lists, its_share, its_most = string.match(ARGV[p], '(%d+) (%d+) (%d+)')
  local after = list + tonumber(its_lists)
  portions[#portions + 1] = { first = list, last = after - 1, share = tonumber(its_share), most = tonumber(its_most), count = 0 }
  list = after
end
for _, limit in ipairs({ 'share', 'most' }) do
  for _, portion in ipairs(portions) do
    for i = portion.first, portion.last do
      if not is_empty[i] then
        local count, refused = take(i, portion[limit] - portion.count)
        if refused then return refused end
        portion.count = portion.count + count
      end
    end
  end
end

if #taken > 0 then
  -- Who takes lives, even before its first heartbeat.
  redis.call('SET', heartbeat, now, 'NX', 'PX', lease)
elseif trouble then
  return trouble
end
local more = '1'
if most > 0 and room > 0 then
  -- All lists are empty, but for those of whom may have no more. Reading them last makes Redis tell this client when one of them
  -- changes.
  local watched = {}
  for _, portion in ipairs(portions) do
    if portion.count < portion.most then
      for i = portion.first, portion.last do watched[#watched + 1] = KEYS[i] end
    end
  end
  -- Of many tenants there are more than fit into one command.
  for first = 1, #watched, 1000 do
    redis.call('EXISTS', unpack(watched, first, math.min(first + 999, #watched)))
  end
  more = '0'
end
return { revision, now, more, table.concat(lists, ' '), table.concat(lengths, ' '), table.concat(taken) }
