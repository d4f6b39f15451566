-- Parked messages: named by the tag of their last delivery and their task, counted for each task.

-- Puts parked messages back; answers how many.
local function unpark(parked, messages, tasks, task_prefix, names, room, now)
  local function list_of_name(name)
    local tag = string.match(name, '^(.-)\6\22')
    return tag and list_of(tag)
  end
  local function gone(name)
    local task = string.match(name, '\6\22(.*)$') or ''
    if redis.call('ZREM', task_prefix .. task, name) == 1 and redis.call('HINCRBY', tasks, task, -1) <= 0 then
      redis.call('HDEL', tasks, task)
    end
  end
  return bring_back('RPUSH', parked, messages, names, room, string.format('%.6f', now + 10), list_of_name, gone)
end

