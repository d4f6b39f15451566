-- Takes a dead letter out and sends a message; answers 0, and does nothing, if the letter is not there.
-- KEYS after those of the letters: the list; ARGV: id, message
prune()
if not redis.call('ZSCORE', since, ARGV[1]) then return 0 end
redis.call('LPUSH', KEYS[6], ARGV[2])
return drop(ARGV[1])
