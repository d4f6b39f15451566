-- Ends a delivery, or a complete chord, with all that belongs to it. Answers 0, and does nothing, if it is not held; 2 if a
-- chord is complete by it, else 1.
-- All keys are looked at before anything is written, so that nothing fails in the middle; and the record goes last: should
-- something fail all the same, the message is still held.
-- KEYS after those of the dead letters: unacked, unacked_index, delayed, delayed:messages, parked, parked:messages, parked:tasks,
--       chords, chords:since
-- ARGV: tag (empty: there is nothing to hold); lifetime of results in ms; the number of results, and for each: key, meta; the
--       number of changes to groups, and each as groups.lua reads it; the number of messages to send, and for each: list, name
--       among the delayed (empty: not delayed), unix time at which it is due, message; then the fate:
--   acknowledge
--   list: RPUSH for the head or LPUSH for the tail, list, message
--   delay: unix time, length of the record's tail
--   park: name, the task, its set, unix time, message
--   dead: id, head, lifetime in microseconds, most letters, most bytes, length of the record's tail
--   chord: its group and the base of its keys; it is what has to be held
--   once: a key; what is sent is sent only if that is not there
local unacked, index, delayed, delayed_messages = KEYS[6], KEYS[7], KEYS[8], KEYS[9]
local parked, parked_messages, parked_tasks = KEYS[10], KEYS[11], KEYS[12]
local chords, chords_since = KEYS[13], KEYS[14]

local read = 0
local function arg()
  read = read + 1
  return ARGV[read]
end

local tag, lifetime = arg(), arg()
local results = {}
for i = 1, tonumber(arg()) do results[i] = { key = arg(), meta = arg() } end
local group_changes = read_group_changes(tonumber(arg()), arg)
local record = tag ~= '' and redis.call('HGET', unacked, tag)
if tag ~= '' and not record then return 0 end
local function held_message(tail) return string.sub(record, 2, -1 - tonumber(tail)) end

local wrong, looked = nil, {}
local function check(kind, ...)
  for _, key in ipairs({ ... }) do
    if not looked[key] then
      local found = redis.call('TYPE', key).ok
      if found ~= kind and found ~= 'none' then wrong = wrong or ('WRONGTYPE ' .. key .. ' is a ' .. found) end
      looked[key] = true
    end
  end
end

if #group_changes > 0 then
  check('hash', chords)
  check('zset', chords_since)
  check_group_changes(group_changes, check)
end

local sends = {}
for i = 1, tonumber(arg()) do
  local send = { list = arg(), name = arg(), due = arg(), message = arg() }
  if send.name == '' then
    check('list', send.list)
  else
    check('zset', delayed)
    check('hash', delayed_messages)
  end
  sends[i] = send
end

local fate, last = arg(), nil
check('zset', index)
if fate == 'list' then
  local push, list, message = arg(), arg(), arg()
  check('list', list)
  last = function() redis.call(push, list, message) end
elseif fate == 'delay' then
  local due, message = tonumber(arg()), held_message(arg())
  check('zset', delayed)
  check('hash', delayed_messages)
  last = function()
    -- A worker whose clock is behind finds a due message early again and again; it must not do so without a pause.
    due = math.max(due, now / 1000000 + 0.02)
    redis.call('HSET', delayed_messages, tag, message)
    redis.call('ZADD', delayed, string.format('%.6f', due), tag)
  end
elseif fate == 'park' then
  local name, task, of_task, due, message = arg(), arg(), arg(), arg(), arg()
  check('zset', parked, of_task)
  check('hash', parked_messages, parked_tasks)
  last = function()
    redis.call('HSET', parked_messages, name, message)
    redis.call('ZADD', parked, due, name)
    if redis.call('ZADD', of_task, string.format('%.0f', now), name) == 1 then
      redis.call('HINCRBY', parked_tasks, task, 1)
    end
  end
elseif fate == 'dead' then
  local id, head, keep, most, room = arg(), arg(), tonumber(arg()), tonumber(arg()), tonumber(arg())
  local message = held_message(arg())
  check('hash', letters, messages)
  check('zset', since, expires)
  check('string', bytes)
  last = function() bury(id, head, message, keep, most, room) end
elseif fate == 'chord' then
  local group, base = arg(), arg()
  if redis.call('HEXISTS', chords, group) == 0 then return 0 end
  last = function()
    redis.call('DEL', base .. '.j', base .. '.t', base .. '.s', base .. '.d')
    -- For five minutes, as in Celery, a part that is late does not begin the count anew.
    redis.call('SET', base .. '.c', 'done', 'EX', 300)
    redis.call('ZREM', chords_since, group)
    redis.call('HDEL', chords, group)
  end
elseif fate == 'once' then
  local key = arg()
  if redis.call('EXISTS', key) == 1 then return 1 end
  last = function() redis.call('SET', key, '1', 'PX', 7 * 86400000) end
end
if wrong then return redis.error_reply(wrong) end

-- When memory is full a script may write only once it has written; this changes nothing. Results are small, and stored then too.
if #results > 0 then redis.pcall('HDEL', unacked, '') end
for _, result in ipairs(results) do store_result(result.key, lifetime, result.meta) end
local complete = change_groups(group_changes, lifetime, chords, chords_since, now)
for _, send in ipairs(sends) do
  if send.name == '' then
    redis.call('LPUSH', send.list, send.message)
  else
    redis.call('HSET', delayed_messages, send.name, send.message)
    redis.call('ZADD', delayed, send.due, send.name)
  end
end
if last then last() end
if record then
  redis.call('ZREM', index, tag)
  redis.call('HDEL', unacked, tag)
end
return complete and 2 or 1
