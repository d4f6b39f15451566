-- What becomes known of groups, in Celery's keys (celery-protocol.md, 4.4 and 12): of a group `base`, its saved shape; and of
-- its chord `.s` the size, `.t` what was added to that, `.j` the endings of its parts by their places, `.d` the parts that
-- were counted, `.c` who has completed it. What has to be done for complete chords is noted in two keys of ours.

-- Each change: kind and group, and then by its kind. `arg` reads the next argument.
local function read_group_changes(count, arg)
  local changes = {}
  for i = 1, count do
    local change = { kind = arg(), base = arg() }
    if change.kind == 'part' then
      change.group, change.place, change.ending, change.member, change.chord = arg(), arg(), arg(), arg(), arg()
    else
      change.value = arg()
    end
    changes[i] = change
  end
  return changes
end

local function check_group_changes(changes, check)
  for _, change in ipairs(changes) do
    local base = change.base
    if change.kind == 'part' then
      check('zset', base .. '.j')
      check('string', base .. '.s', base .. '.t', base .. '.c')
      check('set', base .. '.d')
    end
  end
end

local function set_for(key, value, lifetime)
  redis.call('DEL', key)
  if lifetime == '0' then redis.call('SET', key, value) else redis.call('SET', key, value, 'PX', lifetime) end
end

-- Counts a part, once. Answers whether the chord is complete by it; one worker is told so, of whatever kind.
local function count_part(part, lifetime, chords, since, now)
  local base = part.base
  local claim = base .. '.c'
  if redis.call('GET', claim) == 'done' then return false end
  if redis.call('SADD', base .. '.d', part.member) == 1 then
    redis.call('ZADD', base .. '.j', part.place, part.ending)
  end
  if lifetime ~= '0' then
    for _, suffix in ipairs({ '.j', '.d', '.t', '.s' }) do redis.call('PEXPIRE', base .. suffix, lifetime) end
    redis.call('PEXPIRE', base, lifetime)
  end
  local size = redis.call('GET', base .. '.s')
  if not size then return false end
  local added = redis.call('GET', base .. '.t') or '0'
  if redis.call('ZCARD', base .. '.j') ~= tonumber(size) + tonumber(added) then return false end
  -- A worker of Celery's that has claimed it and died loses its claim; ours is in the notes and lasts.
  if not redis.call('SET', claim, 'host', 'NX') then return false end
  redis.call('HSET', chords, part.group, part.chord)
  redis.call('ZADD', since, string.format('%.0f', now), part.group)
  return true
end

-- Answers whether any chord is complete by these changes.
local function change_groups(changes, lifetime, chords, since, now)
  local complete = false
  for _, change in ipairs(changes) do
    if change.kind == 'size' then
      set_for(change.base .. '.s', change.value, lifetime)
      -- A group that is sent again, under the same id, is counted anew.
      redis.call('DEL', change.base .. '.c')
    elseif change.kind == 'saved' then
      set_for(change.base, change.value, lifetime)
    elseif count_part(change, lifetime, chords, since, now) then
      complete = true
    end
  end
  return complete
end

