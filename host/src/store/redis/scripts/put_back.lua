-- Puts a held message back at the head of its list. Answers 0, and does nothing, if it is not held any more.
-- The record goes last: should anything before it fail, the message is still held.
-- KEYS: unacked, unacked_index, list, and the result's key if there is one to store
-- ARGV: tag, message, and of the result: lifetime in ms, meta
local unacked, index, list, result = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local tag, message = ARGV[1], ARGV[2]

if redis.call('HEXISTS', unacked, tag) == 0 then return 0 end
if result then store_result(result, ARGV[3], ARGV[4]) end
redis.call('RPUSH', list, message)
redis.call('HDEL', unacked, tag)
redis.call('ZREM', index, tag)
return 1
