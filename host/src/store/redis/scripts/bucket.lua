-- A task's bucket: the time, in microseconds, from which on the next token is there. `store/rate_limit.rs` says what it means.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

-- Keeps the bucket for as long as it differs from a full one that nobody has used for long.
local function keep(bucket, next, patience)
  local millis = math.ceil(math.max(0, next - now + patience) / 1000) + 1
  -- DEL comes first because it is allowed when memory is full, and lets SET follow.
  redis.call('DEL', bucket)
  redis.call('SET', bucket, string.format('%.0f', next), 'PX', string.format('%.0f', millis))
end

-- The next token is there within an interval at the latest: the limit may have been raised, or the clock set back, since the last
-- was taken.
local function fitting(bucket, interval, patience)
  local next = tonumber(redis.call('GET', bucket) or '0') or 0
  if interval == 0 or next <= now + interval then return next end
  keep(bucket, now + interval, patience)
  return now + interval
end

