-- KEYS: result; ARGV: lifetime in ms, meta
store_result(KEYS[1], ARGV[1], ARGV[2])
