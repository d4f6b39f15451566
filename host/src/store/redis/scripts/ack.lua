-- Acknowledges deliveries and stores their results, each as if it were alone. Answers for each 1, or 0 if it is not held, and
-- nothing is done, or the text of what went wrong.
-- The record goes last: should anything before it fail, the message is still held.
-- KEYS: unacked, unacked_index
-- ARGV: lifetime of results in ms, then for each delivery: tag, and key and meta of its result, both empty if it has none
local unacked, index, lifetime = KEYS[1], KEYS[2], ARGV[1]

local function acknowledge(tag, key, meta)
  if redis.call('HEXISTS', unacked, tag) == 0 then return 0 end
  if key ~= '' then store_result(key, lifetime, meta) end
  redis.call('ZREM', index, tag)
  redis.call('HDEL', unacked, tag)
  return 1
end

-- When memory is full a script may write only once it has written; this changes nothing.
redis.call('HDEL', unacked, '')
local answers = {}
for i = 2, #ARGV, 3 do
  local done, answer = pcall(acknowledge, ARGV[i], ARGV[i + 1], ARGV[i + 2])
  if not done then answer = type(answer) == 'table' and answer.err or tostring(answer) end
  answers[#answers + 1] = answer
end
return answers
