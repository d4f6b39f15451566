-- Puts delayed messages that are due at the head of their lists, the longest due first in line.
-- KEYS: delayed, delayed:messages; ARGV: most messages
-- Answer: in how many milliseconds the next one is due; -1 if none is delayed. Reading that last makes Redis tell this
-- client when it changes.
local delayed, messages = KEYS[1], KEYS[2]
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000

local tags = redis.call('ZRANGEBYSCORE', delayed, '-inf', string.format('%.6f', now), 'LIMIT', 0, ARGV[1])
for i = #tags, 1, -1 do
  local tag = tags[i]
  -- A tag tells to which list its message goes back: owner, number, priority step, queue.
  local step, list = string.match(tag, '^[^.]*%.%d+%.(%d+)%.(.*)$')
  if step ~= '0' then list = list .. '\6\22' .. step end
  local message = redis.call('HGET', messages, tag)
  if message then redis.call('RPUSH', list, message) end
  redis.call('HDEL', messages, tag)
  redis.call('ZREM', delayed, tag)
end

local next = redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')
if #next == 0 then return -1 end
return math.max(0, math.ceil((next[2] - now) * 1000))
