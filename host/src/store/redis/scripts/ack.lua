-- Acknowledges deliveries and stores their results. Answers for each 1, or 0 if it is not held, and nothing is done, or the
-- text of what went wrong.
-- The records go last: should anything before fail, the messages are still held.
-- KEYS: unacked, unacked_index
-- ARGV: lifetime of results in ms, then for each delivery: tag, and key and meta of its result, both empty if it has none
local unacked, index, lifetime = KEYS[1], KEYS[2], ARGV[1]

-- The most deliveries in one command: few enough to be its arguments.
local MOST_AT_ONCE = 1000

local function store(tag, key, meta)
  if redis.call('HEXISTS', unacked, tag) == 0 then return 0 end
  if key ~= '' then store_result(key, lifetime, meta) end
  return 1
end

-- When memory is full a script may write only once it has written; this changes nothing.
redis.call('HDEL', unacked, '')
local answers, ended = {}, {}
for i = 2, #ARGV, 3 do
  local done, answer = pcall(store, ARGV[i], ARGV[i + 1], ARGV[i + 2])
  if not done then
    answer = type(answer) == 'table' and answer.err or tostring(answer)
  elseif answer == 1 then
    ended[#ended + 1] = ARGV[i]
  end
  answers[#answers + 1] = answer
end
for first = 1, #ended, MOST_AT_ONCE do
  local last = math.min(first + MOST_AT_ONCE - 1, #ended)
  redis.call('ZREM', index, unpack(ended, first, last))
  redis.call('HDEL', unacked, unpack(ended, first, last))
end
return answers
