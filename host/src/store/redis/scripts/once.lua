-- Sends messages unless that was done under the same key before. Answers what was kept under the key then; nothing if it is kept now.
-- KEYS: the key, delayed, delayed:messages
-- ARGV: what is kept under the key, for how many ms; the number of messages, and for each: list, name among the delayed (empty:
--       not delayed), unix time at which it is due, message
local kept = redis.call('GET', KEYS[1])
if kept then return kept end
-- All that could fail is looked at before anything is written.
for i = 4, #ARGV, 4 do
  local key, kind = ARGV[i], 'list'
  if ARGV[i + 1] ~= '' then key, kind = KEYS[2], 'zset' end
  local found = redis.call('TYPE', key).ok
  if found ~= kind and found ~= 'none' then
    return redis.error_reply('WRONGTYPE ' .. key .. ' is a ' .. found)
  end
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
for i = 4, #ARGV, 4 do
  if ARGV[i + 1] == '' then
    redis.call('LPUSH', ARGV[i], ARGV[i + 3])
  else
    redis.call('HSET', KEYS[3], ARGV[i + 1], ARGV[i + 3])
    redis.call('ZADD', KEYS[2], ARGV[i + 2], ARGV[i + 1])
  end
end
return false
