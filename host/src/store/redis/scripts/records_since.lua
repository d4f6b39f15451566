-- Tells the records that have changed after a revision, and the keys of all.
-- KEYS: revision, records, revisions of records; ARGV: revision
-- Answer: the revision reached, then for each: key, revision, and the record if it has changed, else nothing
local reached, after = tonumber(redis.call('GET', KEYS[1]) or '0'), tonumber(ARGV[1])
-- This Redis has lost its memory since.
if after > reached then after = 0 end

local answer, known = { string.format('%.0f', reached) }, redis.call('HGETALL', KEYS[3])
for i = 1, #known, 2 do
  local key, revision, value = known[i], tonumber(known[i + 1]) or 0, ''
  if revision > after then value = redis.call('HGET', KEYS[2], key) or '' end
  for _, part in ipairs({ key, string.format('%.0f', revision), value }) do answer[#answer + 1] = part end
end
return answer
