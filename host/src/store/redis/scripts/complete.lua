-- Tells of complete chords that are not finished: those named, and those that somebody else has left for too long.
-- KEYS: chords, chords:since; ARGV: age in microseconds, most, then groups. Answer: group, note, group, note, ...
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local groups, named = {}, {}
for i = 3, #ARGV do
  groups[#groups + 1], named[ARGV[i]] = ARGV[i], true
end
local left = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', string.format('%.0f', now - ARGV[1]), 'LIMIT', 0, ARGV[2])
for _, group in ipairs(left) do
  if not named[group] then groups[#groups + 1] = group end
end
local answer = {}
for _, group in ipairs(groups) do
  local note = redis.call('HGET', KEYS[1], group)
  if note then
    answer[#answer + 1], answer[#answer + 2] = group, note
  else
    redis.call('ZREM', KEYS[2], group)
  end
end
return answer
