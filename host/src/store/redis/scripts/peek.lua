-- Reads the messages that would be taken next, and leaves them. Answers for each: the number of its list, message.
-- KEYS: lists, the most urgent first; ARGV: most messages, most bytes
local told, most, room = {}, tonumber(ARGV[1]), tonumber(ARGV[2])
for number, list in ipairs(KEYS) do
  local at = -1
  while most > 0 and room > 0 do
    local message = redis.pcall('LINDEX', list, at)
    if type(message) ~= 'string' then break end
    told[#told + 1] = tostring(number)
    told[#told + 1] = message
    at, most, room = at - 1, most - 1, room - #message
  end
end
return told
