-- Tells of all blobs. KEYS: blobs, blobs:since. Answer: for each: digest, bytes
local answer = {}
for _, digest in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
  answer[#answer + 1] = { digest, redis.call('HSTRLEN', KEYS[1], digest) }
end
return answer
