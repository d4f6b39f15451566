-- Stores a result and announces it, unless a SUCCESS is stored already. A lifetime of 0 ms is no end.
local function store_result(key, lifetime, meta)
  local stored = redis.pcall('GETRANGE', key, 0, 19)
  if type(stored) == 'string' and string.find(stored, '^{"status": ?"SUCCESS"') then return end
  -- DEL comes first because it is allowed when memory is full, and lets SET follow.
  redis.call('DEL', key)
  if lifetime == '0' then
    redis.call('SET', key, meta)
  else
    redis.call('SET', key, meta, 'PX', lifetime)
  end
  redis.call('PUBLISH', key, meta)
end

