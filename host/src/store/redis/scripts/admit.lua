-- Takes a token for a held message, or sets the message aside. Answers 1 if it may be run, 0 if it was set aside, and -1, having
-- done nothing, if it is not held.
-- All keys are looked at before anything is written, so that nothing fails in the middle; and the record goes last.
-- KEYS: unacked, unacked_index, aside, the task's places, the list of this place, bucket
-- ARGV: tag, task, place, message, interval, slack and patience in microseconds
local unacked, index, aside, places, list, bucket = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local tag, task, place, message = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local interval, slack, patience = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])

if redis.call('HEXISTS', unacked, tag) == 0 then return -1 end
local kinds = { [index] = 'zset', [aside] = 'hash', [places] = 'set', [list] = 'list', [bucket] = 'string' }
for key, kind in pairs(kinds) do
  local found = redis.call('TYPE', key).ok
  if found ~= kind and found ~= 'none' then return redis.error_reply('WRONGTYPE ' .. key .. ' is a ' .. found) end
end

local next = fitting(bucket, interval, patience)
if redis.call('EXISTS', places) == 0 and next <= now then
  keep(bucket, math.max(next, now - slack) + interval, patience)
  return 1
end

redis.call('ZREM', index, tag)
redis.call('RPUSH', list, message)
redis.call('SADD', places, place)
redis.call('HINCRBY', aside, task, 1)
redis.call('HDEL', unacked, tag)
return 0
