-- Throws away the messages of some lists and answers how many there were. KEYS: the lists
local count = 0
for _, list in ipairs(KEYS) do
  count = count + redis.call('LLEN', list)
end
redis.call('DEL', unpack(KEYS))
return count
