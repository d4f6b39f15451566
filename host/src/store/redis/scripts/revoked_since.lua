-- Tells what was revoked after a revision. Reading the revision makes Redis tell this client when it changes.
-- KEYS: revision, revoked, revoked:until, revoked:changes; ARGV: revision, most
-- Answer: the revision reached, 1 if there is more or 0, then for each: target, what is known of it
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local reached = tonumber(redis.call('GET', KEYS[1]) or '0')
local after, most = tonumber(ARGV[1]), tonumber(ARGV[2])
-- This Redis has lost its memory since.
if after > reached then after = 0 end

local changes =
  redis.call('ZRANGEBYSCORE', KEYS[4], '(' .. string.format('%.0f', after), '+inf', 'WITHSCORES', 'LIMIT', 0, most)
local more = #changes == 2 * most
if more then reached = tonumber(changes[#changes]) end
local answer = { string.format('%.0f', reached), more and '1' or '0' }
for i = 1, #changes, 2 do
  local target = changes[i]
  local known, until_time = redis.call('HGET', KEYS[2], target), redis.call('ZSCORE', KEYS[3], target)
  if known and until_time and tonumber(until_time) > now then
    answer[#answer + 1], answer[#answer + 2] = target, known
  end
end
return answer
