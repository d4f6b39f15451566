-- Keeps a blob, if it is not there already. KEYS: blobs, blobs:since; ARGV: digest, bytes
local time = redis.call('TIME')
redis.call('ZCARD', KEYS[2])
redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[2], string.format('%.0f', time[1] * 1000000 + time[2]), ARGV[1])
