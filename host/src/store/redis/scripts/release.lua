-- Puts parked messages of one task at the head of their lists, the newest first: when there are more than one call may
-- move, the next call puts older ones before them. Answers how many it moved.
-- KEYS: parked, parked:messages, parked:tasks, the task's set; ARGV: prefix of the tasks' sets, most messages, most bytes
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local names = redis.call('ZREVRANGE', KEYS[4], 0, ARGV[2] - 1)
return unpark(KEYS[1], KEYS[2], KEYS[3], ARGV[1], names, tonumber(ARGV[3]), now)
