-- Ends a delivery: done with, or put aside as a dead letter. Answers 0, and does nothing, if it is not held.
-- The record goes last: should anything before it fail, the message is still held.
-- KEYS: unacked, unacked_index, dead, dead:count, and the result's key if there is one to store
-- ARGV: tag; dead letter's head (empty for none), its part before the message, most dead letters, length of the record's tail;
--       and of the result: lifetime in ms, meta
local unacked, index, dead, count, result = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local tag, head = ARGV[1], ARGV[2]

if redis.call('HEXISTS', unacked, tag) == 0 then return 0 end
if result then store_result(result, ARGV[6], ARGV[7]) end
if head ~= '' then
  local message = string.sub(redis.call('HGET', unacked, tag), 2, -1 - tonumber(ARGV[5]))
  local time = redis.call('TIME')
  redis.call('LPUSH', dead, head .. string.format('%d.%06d', time[1], time[2]) .. ARGV[3] .. message .. '}')
  redis.call('LTRIM', dead, 0, ARGV[4] - 1)
  redis.call('INCR', count)
end
redis.call('HDEL', unacked, tag)
redis.call('ZREM', index, tag)
return 1
