local function bury(id, head, message, lifetime, most, room)
  prune()
  redis.call('HSET', letters, id, head)
  redis.call('HSET', messages, id, message)
  redis.call('ZADD', since, string.format('%.0f', now), id)
  redis.call('ZADD', expires, string.format('%.0f', now + lifetime), id)
  local sum = redis.call('INCRBY', bytes, #head + #message)
  while sum > room or redis.call('ZCARD', since) > most do
    local oldest = redis.call('ZRANGE', since, 0, 0)[1]
    if not oldest then break end
    drop(oldest)
    sum = tonumber(redis.call('GET', bytes))
  end
end

