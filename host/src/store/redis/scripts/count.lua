-- Adds to counts. KEYS: the counts; ARGV: how long each is kept, in milliseconds, then for each: calls, failures
for i, key in ipairs(KEYS) do
  redis.call('HINCRBY', key, 'calls', ARGV[2 * i])
  redis.call('HINCRBY', key, 'failures', ARGV[2 * i + 1])
  redis.call('PEXPIRE', key, ARGV[1])
end
