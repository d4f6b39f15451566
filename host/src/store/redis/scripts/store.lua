-- KEYS: result; ARGV: lifetime in ms, meta
-- When memory is full a script may write only once it has written; this changes nothing, whatever is there.
redis.pcall('HDEL', KEYS[1], '')
store_result(KEYS[1], ARGV[1], ARGV[2])
