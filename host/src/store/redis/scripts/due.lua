-- Puts delayed messages that are due at the tail of their lists, the longest due first: so they are taken in the order of
-- their times, whoever takes in between.
-- KEYS: delayed, delayed:messages; ARGV: most messages, most bytes
-- Answer: in how many milliseconds the next one is due; -1 if none is delayed. Reading that last makes Redis tell this
-- client when it changes.
local delayed, messages = KEYS[1], KEYS[2]
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000

local names = redis.call('ZRANGEBYSCORE', delayed, '-inf', string.format('%.6f', now), 'LIMIT', 0, ARGV[1])
bring_back('LPUSH', delayed, messages, names, tonumber(ARGV[2]), string.format('%.6f', now + 10), list_of)

local next = redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')
if #next == 0 then return -1 end
return math.max(0, math.ceil((next[2] - now) * 1000))
