-- Stores a result and announces it. A stored SUCCESS stays; a task that has ended in another way may be run again and end
-- anew, but is not put back into a state of a running one, as a late word of its progress would. A lifetime of 0 ms is no end.
local ends = { SUCCESS = true, FAILURE = true, REVOKED = true, RETRY = true }

local function state_of(meta)
  return type(meta) == 'string' and string.match(meta, '^{"status": ?"(%u+)"')
end

local function store_result(key, lifetime, meta)
  local stored = state_of(redis.pcall('GETRANGE', key, 0, 19))
  if stored == 'SUCCESS' or (ends[stored] and stored ~= 'RETRY' and not ends[state_of(meta)]) then return end
  -- DEL comes first because it is allowed when memory is full, and lets SET follow.
  redis.call('DEL', key)
  if lifetime == '0' then
    redis.call('SET', key, meta)
  else
    redis.call('SET', key, meta, 'PX', lifetime)
  end
  redis.call('PUBLISH', key, meta)
end

