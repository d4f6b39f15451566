-- Answers some dead letters: id, since, expires, head, message, and so on. ARGV: first and last rank, the newest being 0; or an id
prune()
local ids = ARGV[2] and redis.call('ZREVRANGE', since, ARGV[1], ARGV[2]) or { ARGV[1] }
local answer = {}
for _, id in ipairs(ids) do
  local begin = redis.call('ZSCORE', since, id)
  local head, message = redis.call('HGET', letters, id), redis.call('HGET', messages, id)
  if begin and head and message then
    for _, part in ipairs({ id, begin, redis.call('ZSCORE', expires, id) or begin, head, message }) do
      answer[#answer + 1] = part
    end
  end
end
return answer
