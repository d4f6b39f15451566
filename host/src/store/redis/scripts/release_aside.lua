-- Puts messages of a task that were set aside back to the heads of their lists: as many as there are tokens for, or all.
-- A place is a priority step and a queue: `<step>.<queue>`.
-- KEYS: aside, the task's places, bucket
-- ARGV: task, what the keys of the places' lists begin with, what the keys of the marks of heads begin with, interval (0: all),
--       slack, `abandoned` or nothing, patience and hands-full pause in microseconds, most messages, most bytes
-- Answer: how many, and in how many microseconds to ask again, -1 if no more are set aside
local aside, places, bucket = KEYS[1], KEYS[2], KEYS[3]
local task, lists, heads = ARGV[1], ARGV[2], ARGV[3]
local interval, slack, abandoned = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6] == 'abandoned'
local patience, pause, most, room = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])

local names = redis.call('SMEMBERS', places)
if #names == 0 then
  -- Whoever emptied some of the keys by hand has not counted.
  redis.call('HDEL', aside, task)
  return { 0, -1 }
end
local next = fitting(bucket, interval, patience)
local function wait()
  if abandoned then return math.max(0, next + patience - now) end
  return interval == 0 and 0 or math.max(0, next - now)
end
if wait() > 0 then return { 0, wait() } end

-- The list to which the messages of a place go back.
local function list_of(name)
  local step, list = string.match(name, '^(%d+)%.(.+)$')
  if step and step ~= '0' then list = list .. '\6\22' .. step end
  return list
end

-- Whether what was put to the head of this list before is still there.
local function is_waiting(list)
  local mark = redis.call('GET', heads .. list)
  local head = mark and redis.call('LINDEX', list, -1)
  return head and redis.sha1hex(head) == mark
end

local open = {}
for _, name in ipairs(names) do
  local list = list_of(name)
  local kind = list and redis.call('TYPE', list).ok
  local takes = kind == 'none' or kind == 'list'
  if takes and (interval == 0 and not abandoned or not is_waiting(list)) then open[#open + 1] = name end
end
table.sort(open)

local count, back = 0, {}
local function pop(side, name)
  local message = redis.call(side, lists .. name)
  if not message then return nil end
  count, room = count + 1, room - #message
  return message
end
local function is_enough() return count >= most or room <= 0 end

if interval == 0 then
  -- The newest first: when there are more than one call may move, the next call puts older ones before them.
  for _, name in ipairs(open) do
    while not is_enough() do
      local message = pop('RPOP', name)
      if not message then break end
      redis.call('RPUSH', list_of(name), message)
    end
  end
else
  while #open > 0 and next <= now and not is_enough() do
    -- Queues take turns within the most urgent step.
    local urgent, alike = string.match(open[1], '^%d+'), 1
    while open[alike + 1] and string.match(open[alike + 1], '^%d+') == urgent do alike = alike + 1 end
    local turn = (now + count) % alike + 1
    local name = open[turn]
    local message = pop('LPOP', name)
    if message then
      next = math.max(next, now - slack) + interval
      back[name] = back[name] or {}
      table.insert(back[name], message)
    else
      table.remove(open, turn)
    end
  end
  for name, messages in pairs(back) do
    local list = list_of(name)
    for i = #messages, 1, -1 do redis.call('RPUSH', list, messages[i]) end
    -- It need not be remembered for long: after that one more goes to where nobody takes.
    redis.call('SET', heads .. list, redis.sha1hex(messages[1]), 'EX', 600)
  end
  if count > 0 then keep(bucket, next, patience) end
end

local left = 0
for _, name in ipairs(names) do
  local length = redis.call('LLEN', lists .. name)
  if length == 0 then redis.call('SREM', places, name) end
  left = left + length
end
if left == 0 then
  redis.call('HDEL', aside, task)
  return { count, -1 }
end
redis.call('HSET', aside, task, left)
if #open == 0 then return { count, pause } end
return { count, wait() }
