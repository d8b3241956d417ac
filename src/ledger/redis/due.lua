-- KEYS due; ARGV id at. When to ask a share's receipt whether its bytes may be freed.
-- A write that is allowed at maxmemory comes first: what ends, ends then too.
redis.call('ZREM', KEYS[1], '')
return redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
