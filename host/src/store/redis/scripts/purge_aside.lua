-- Throws away what was set aside from one queue and answers how many messages that were.
-- KEYS: aside; ARGV: what the keys of the tasks' places begin with, what the keys of their lists begin with, what parts a task from
--       a place, then the places that belong to the queue
local aside = KEYS[1]
local all_places, lists, separator = ARGV[1], ARGV[2], ARGV[3]
local count = 0
for _, task in ipairs(redis.call('HKEYS', aside)) do
  for i = 4, #ARGV do
    local place = ARGV[i]
    local list = lists .. task .. separator .. place
    local length = redis.call('LLEN', list)
    redis.call('DEL', list)
    redis.call('SREM', all_places .. task, place)
    count = count + length
    if length > 0 and redis.call('HINCRBY', aside, task, -length) <= 0 then redis.call('HDEL', aside, task) end
  end
end
return count
