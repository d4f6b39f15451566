-- Tells that the owner lives, and that it still holds its deliveries; those that it lost are not added again.
-- KEYS: heartbeat, unacked_index; ARGV: lease in ms, then the tags
local time = redis.call('TIME')
local now = string.format('%d.%06d', time[1], time[2])
redis.call('SET', KEYS[1], now, 'PX', ARGV[1])
for i = 2, #ARGV do
  redis.call('ZADD', KEYS[2], 'XX', now, ARGV[i])
end
