-- Takes messages and records each as held, in one step: a message is always in its list or in the record.
-- KEYS: unacked, unacked_index, the owner's heartbeat, revision of what is revoked, then the lists, the most urgent first
-- ARGV: tag prefix, first number, most messages, most bytes, first lease in ms, then for each list: tag suffix, record tail
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

for i = 5, #KEYS do
  local list, suffix, tail = KEYS[i], ARGV[2 * i - 4], ARGV[2 * i - 3]
  -- How large messages are is known only once they are there. So they come by ones, then by fours, and so on, as long as the
  -- largest so far would fit in that number.
  local at_once, largest = 1, 1
  while most > 0 and room > 0 do
    -- RPOP comes first because a script may go on writing when memory is full only once it has written.
    local messages = redis.pcall('RPOP', list, math.min(at_once, most))
    if not messages then break end
    -- One key that is no list must not hide the queues behind it.
    if failed(messages) then
      -- What a tenant makes of its own key is nothing for all to wait for.
      local is_own_doing = string.find(list, '/', 1, true) and string.sub(messages.err, 1, 9) == 'WRONGTYPE'
      if not is_own_doing then trouble = trouble or messages end
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
      return recorded
    end
    lists[#lists + 1], lists[#lists + 2] = i - 4, #messages
    for _, message in ipairs(messages) do lengths[#lengths + 1], taken[#taken + 1] = #message, message end
    if #messages < at_once then break end
    at_once = math.max(1, math.min(4 * at_once, MOST_AT_ONCE, math.floor(room / largest)))
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
  -- All lists are empty. Reading them last makes Redis tell this client when one of them changes.
  redis.call('EXISTS', unpack(KEYS, 5))
  more = '0'
end
return { revision, now, more, table.concat(lists, ' '), table.concat(lengths, ' '), table.concat(taken) }
