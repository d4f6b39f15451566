-- Puts a reply into an inbox. What nobody fetches does not stay: not for long when nobody has bound the inbox any more, and
-- not for ever when somebody who has bound it was killed.
-- KEYS: list, bindings; ARGV: the inbox's binding, message, ms to stay if it is bound, ms to stay if not
redis.call('LPUSH', KEYS[1], ARGV[2])
local bound = redis.call('SISMEMBER', KEYS[2], ARGV[1]) == 1
redis.call('PEXPIRE', KEYS[1], bound and ARGV[3] or ARGV[4])
