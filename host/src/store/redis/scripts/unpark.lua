-- Puts parked messages whose time has come at the head of their lists, in the order of `due.lua`; answers how many.
-- KEYS: parked, parked:messages, parked:tasks; ARGV: prefix of the tasks' sets, most messages, most bytes
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local names = redis.call('ZREVRANGEBYSCORE', KEYS[1], string.format('%.6f', now), '-inf', 'LIMIT', 0, ARGV[2])
return unpark(KEYS[1], KEYS[2], KEYS[3], ARGV[1], names, tonumber(ARGV[3]), now)
