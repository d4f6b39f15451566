-- Replaces the record of a delivery; answers 0, and does nothing, if it is not held. KEYS: unacked; ARGV: tag, record
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return 1
