-- Changes entries of a bucket, all of them or none, and counts what the tenant's entries take.
-- KEYS: entries, their keys, what each tenant's take, the tenant's buckets
-- ARGV: tenant, bucket, quota, what each entry takes besides, mode
--   set: for each: key, 1 if it gets a value or 0, value
--   add: key, what is added
local entries, names, all, buckets = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local tenant, bucket, quota, each, mode = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
local used = tonumber(redis.call('HGET', all, tenant) or '0')

local function cost(key)
  if redis.call('HEXISTS', entries, key) == 0 then return 0 end
  return #key + redis.call('HSTRLEN', entries, key) + each
end

local function note(sum)
  if sum > 0 then
    redis.call('HSET', all, tenant, string.format('%.0f', sum))
  else
    redis.call('HDEL', all, tenant)
  end
  if redis.call('EXISTS', entries) == 1 then
    redis.call('SADD', buckets, bucket)
  else
    redis.call('SREM', buckets, bucket)
  end
end

if mode == 'add' then
  local key, delta = ARGV[6], ARGV[7]
  local before = cost(key)
  -- No sum has more than 20 digits.
  if before == 0 and used + #key + 20 + each > quota then return {'full', string.format('%.0f', used)} end
  local sum = redis.pcall('HINCRBY', entries, key, delta)
  if type(sum) == 'table' and sum.err then return {'no number', ''} end
  redis.call('ZADD', names, 0, key)
  note(used - before + cost(key))
  return {'sum', redis.call('HGET', entries, key)}
end

local after, sum = {}, used
for i = 6, #ARGV, 3 do
  local key, value = ARGV[i], ARGV[i + 2]
  local before = after[key] or cost(key)
  after[key] = ARGV[i + 1] == '1' and #key + #value + each or 0
  sum = sum - before + after[key]
end
if sum > quota and sum > used then return {'full', string.format('%.0f', used)} end
for i = 6, #ARGV, 3 do
  if ARGV[i + 1] == '1' then
    redis.call('HSET', entries, ARGV[i], ARGV[i + 2])
    redis.call('ZADD', names, 0, ARGV[i])
  else
    redis.call('HDEL', entries, ARGV[i])
    redis.call('ZREM', names, ARGV[i])
  end
end
note(sum)
return {'changed', ''}
