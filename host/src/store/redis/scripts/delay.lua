-- Lays a held message aside until it is due. Answers 0, and does nothing, if it is not held.
-- KEYS: unacked, unacked_index, delayed, delayed:messages; ARGV: tag, unix time at which it is due, length of the record's tail
local unacked, index, delayed, messages = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local tag, due = ARGV[1], tonumber(ARGV[2])

local record = redis.call('HGET', unacked, tag)
if not record then return 0 end
local time = redis.call('TIME')
-- A worker whose clock is behind finds a due message early again and again; it must not do so without a pause.
due = math.max(due, time[1] + time[2] / 1000000 + 0.02)
redis.call('HSET', messages, tag, string.sub(record, 2, -1 - tonumber(ARGV[3])))
redis.call('ZADD', delayed, string.format('%.6f', due), tag)
redis.call('HDEL', unacked, tag)
redis.call('ZREM', index, tag)
return 1
