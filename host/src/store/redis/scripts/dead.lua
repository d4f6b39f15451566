-- Dead letters: a head and a message under an id, by the time since when they are here and by the time when they expire, in
-- microseconds; and the bytes of all together.
-- KEYS, first of all: dead:letters, dead:messages, dead:since, dead:expires, dead:bytes
local letters, messages, since, expires, bytes = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

local function drop(id)
  local size = redis.call('HSTRLEN', letters, id) + redis.call('HSTRLEN', messages, id)
  local known = redis.call('ZREM', since, id)
  redis.call('ZREM', expires, id)
  redis.call('HDEL', letters, id)
  redis.call('HDEL', messages, id)
  if known == 1 then redis.call('DECRBY', bytes, size) end
  return known
end

local function prune()
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', expires, '-inf', string.format('%.0f', now))) do drop(id) end
  -- Whoever emptied some of the keys by hand has not counted.
  if redis.call('ZCARD', since) == 0 then redis.call('DEL', bytes) end
end

