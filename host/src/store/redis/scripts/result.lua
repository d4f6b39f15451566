-- Stores a result and announces it. A stored SUCCESS stays; a task that has ended in another way may be run again and end
-- anew, but is not put back into a state of a running one, as a late word of its progress would. A lifetime of 0 ms is no end.
local ends = { SUCCESS = true, FAILURE = true, REVOKED = true, RETRY = true }

local function state_of(meta)
  return type(meta) == 'string' and string.match(meta, '^{"status": ?"(%u+)"')
end

local function set_new(key, lifetime, meta)
  if lifetime == '0' then return redis.call('SET', key, meta, 'NX') end
  return redis.call('SET', key, meta, 'NX', 'PX', lifetime)
end

local function store_result(key, lifetime, meta)
  -- Almost always there is none yet.
  if not set_new(key, lifetime, meta) then
    local stored = state_of(redis.pcall('GETRANGE', key, 0, 19))
    if stored == 'SUCCESS' or (ends[stored] and stored ~= 'RETRY' and not ends[state_of(meta)]) then return end
    redis.call('DEL', key)
    set_new(key, lifetime, meta)
  end
  redis.call('PUBLISH', key, meta)
end

