-- Acknowledges deliveries and stores their results, each as if it were alone. Answers for each 1, or 0 if it is not held, and
-- nothing is done, or the text of what went wrong.
-- The record goes last: should anything before it fail, the message is still held.
-- KEYS: unacked, unacked_index, then the keys of the results
-- ARGV: lifetime of results in ms, then for each delivery: tag, and the meta of its result, or nothing if it has none
local unacked, index, lifetime = KEYS[1], KEYS[2], ARGV[1]

local function acknowledge(tag, key, meta)
  if redis.call('HEXISTS', unacked, tag) == 0 then return 0 end
  if key then store_result(key, lifetime, meta) end
  redis.call('ZREM', index, tag)
  redis.call('HDEL', unacked, tag)
  return 1
end

-- When memory is full a script may write only once it has written; this changes nothing.
redis.call('HDEL', unacked, '')
local answers, key = {}, 2
for i = 2, #ARGV, 2 do
  local tag, meta = ARGV[i], ARGV[i + 1]
  local has_result = meta ~= ''
  if has_result then key = key + 1 end
  local done, answer = pcall(acknowledge, tag, has_result and KEYS[key], meta)
  if not done then answer = type(answer) == 'table' and answer.err or tostring(answer) end
  answers[#answers + 1] = answer
end
return answers
