-- Revokes, and forgets what is past. Each change has a revision of its own, so that they can be told a few at a time.
-- KEYS: revision, revoked, revoked:until, revoked:changes
-- ARGV: for each: target, until in unix microseconds and as text, 1 if it is also stopped or 0
local revision, revoked, untils, changes = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

for _, target in ipairs(redis.call('ZRANGEBYSCORE', untils, '-inf', string.format('%.0f', now), 'LIMIT', 0, 1000 + #ARGV)) do
  redis.call('HDEL', revoked, target)
  redis.call('ZREM', untils, target)
  redis.call('ZREM', changes, target)
end

for i = 1, #ARGV, 4 do
  local target, until_time, until_text, terminate = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  if tonumber(until_time) > now then
    local known_time, known = redis.call('ZSCORE', untils, target), redis.call('HGET', revoked, target)
    if known and known_time then
      if tonumber(known_time) > tonumber(until_time) then until_time, until_text = known_time, string.sub(known, 3) end
      if string.sub(known, 1, 1) == '1' then terminate = '1' end
    end
    redis.call('HSET', revoked, target, terminate .. ' ' .. until_text)
    redis.call('ZADD', untils, until_time, target)
    redis.call('ZADD', changes, redis.call('INCR', revision), target)
  end
end
