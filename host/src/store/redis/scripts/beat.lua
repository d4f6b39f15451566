-- Tells that the owner lives, and that it still holds its deliveries. Answers the tags of those that it does not hold any
-- more; they are not added again.
-- KEYS: heartbeat, workers, unacked, unacked_index; ARGV: lease in ms, report, owner, then the tags
local time = redis.call('TIME')
local now = string.format('%d.%06d', time[1], time[2])
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
redis.call('ZADD', KEYS[2], string.format('%.3f', now + ARGV[1] / 1000), ARGV[3])
local lost = {}
for i = 4, #ARGV do
  redis.call('ZADD', KEYS[4], 'XX', now, ARGV[i])
  if redis.call('HEXISTS', KEYS[3], ARGV[i]) == 0 then lost[#lost + 1] = ARGV[i] end
end
return lost
