-- Drops the blobs among these that were put long ago. KEYS: blobs, blobs:since; ARGV: how long, in microseconds, digests
-- Answer: how many
local time = redis.call('TIME')
local before, dropped = time[1] * 1000000 + time[2] - ARGV[1], 0
for i = 2, #ARGV do
  local since = redis.call('ZSCORE', KEYS[2], ARGV[i])
  if since and tonumber(since) <= before then
    redis.call('HDEL', KEYS[1], ARGV[i])
    dropped = dropped + redis.call('ZREM', KEYS[2], ARGV[i])
  end
end
return dropped
