-- Changes records if each is at the revision it must be at, and notes who did. Looks first at all that it writes to, so that what
-- cannot be written leaves everything as it was.
-- KEYS: revision, audit, audit of the tenant, then for each change: records, revisions of records
-- ARGV: entry, most of all, most of the tenant, then for each change: key, its revision or nothing, 1 if it stays or 0, value
-- Answer: the revision reached, or nothing
local revision, audits = KEYS[1], { KEYS[2], KEYS[3] }
for _, audit in ipairs(audits) do redis.call('LLEN', audit) end
for i = 4, #KEYS, 2 do
  local at = 2 * i - 4
  redis.call('HEXISTS', KEYS[i], ARGV[at])
  if (redis.call('HGET', KEYS[i + 1], ARGV[at]) or '') ~= ARGV[at + 1] then return false end
end

local reached
if #KEYS > 3 then
  reached = redis.call('INCR', revision)
else
  reached = tonumber(redis.call('GET', revision) or '0')
end
for i = 4, #KEYS, 2 do
  local at = 2 * i - 4
  if ARGV[at + 2] == '1' then
    redis.call('HSET', KEYS[i], ARGV[at], ARGV[at + 3])
    redis.call('HSET', KEYS[i + 1], ARGV[at], string.format('%.0f', reached))
  else
    redis.call('HDEL', KEYS[i], ARGV[at])
    redis.call('HDEL', KEYS[i + 1], ARGV[at])
  end
end
for i, audit in ipairs(audits) do
  redis.call('LPUSH', audit, ARGV[1])
  redis.call('LTRIM', audit, 0, ARGV[1 + i] - 1)
end
return reached
