-- Messages that wait under a name in a sorted set, with a hash of name to message beside it.

-- The list to which the message of a tag goes back: owner, number, priority step, queue. Nothing if it is no tag.
local function list_of(tag)
  local step, list = string.match(tag, '^[^.]*%.%d+%.(%d+)%.(.+)$')
  if step and step ~= '0' then list = list .. '\6\22' .. step end
  return list
end

-- Pushes messages to their lists, to the head (RPUSH) or the tail (LPUSH), in the order of their names, as many as there is
-- room for; answers how many.
-- What cannot be put back, because its list is a key of another type, waits on until `again`. `gone` is told what went.
local function bring_back(push, index, messages, names, room, again, list_of, gone)
  local found, count = {}, 0
  for i, name in ipairs(names) do
    if room <= 0 then break end
    found[i] = redis.call('HGET', messages, name)
    room, count = room - #(found[i] or ''), i
  end
  if count == 0 then return 0 end
  -- Removing comes first because a script may go on writing when memory is full only once it has written.
  redis.call('ZREM', index, unpack(names, 1, count))
  local went, back = {}, 0
  for i = 1, count do
    local name, message = names[i], found[i]
    local list = message and list_of(name)
    local length = list and redis.pcall(push, list, message)
    if type(length) == 'number' then back = back + 1 end
    if type(length) == 'number' or not message then
      went[#went + 1] = name
      if gone then gone(name) end
    else
      redis.call('ZADD', index, again, name)
    end
  end
  if #went > 0 then redis.call('HDEL', messages, unpack(went)) end
  return back
end

