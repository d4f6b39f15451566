-- Reads delayed messages, the next due first. Answers for each: name, unix time at which it is due, message.
-- KEYS: delayed, delayed:messages; ARGV: most messages, most bytes
local told, room = {}, tonumber(ARGV[2])
local found = redis.call('ZRANGE', KEYS[1], 0, ARGV[1] - 1, 'WITHSCORES')
for i = 1, #found, 2 do
  local message = redis.call('HGET', KEYS[2], found[i])
  if message then
    room = room - #message
    if room < 0 then break end
    told[#told + 1] = found[i]
    told[#told + 1] = found[i + 1]
    told[#told + 1] = message
  end
end
return told
