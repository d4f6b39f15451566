-- Answers how many dead letters there are.
prune()
return redis.call('ZCARD', since)
