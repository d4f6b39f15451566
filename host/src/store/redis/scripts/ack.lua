-- Acknowledges a delivery and stores its result. Answers 0, and does nothing, if it is not held.
-- The record goes last: should anything before it fail, the message is still held.
-- KEYS: unacked, unacked_index, and the result's key if there is one to store; ARGV: tag, and of the result: lifetime in ms, meta
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return 0 end
if KEYS[3] then store_result(KEYS[3], ARGV[2], ARGV[3]) end
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[1], ARGV[1])
return 1
