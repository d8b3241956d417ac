-- KEYS receipt due; ARGV id
local first = redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[1], 'blob')
return first
