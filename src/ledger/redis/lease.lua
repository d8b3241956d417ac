-- KEYS receipt lease; ARGV claim. Reads.
local had = redis.call('HGET', KEYS[1], 'c' .. ARGV[1])
if not had then return { 'unknown' } end
local lease = redis.call('HMGET', KEYS[2], 'size', 'base', 'blob', 'manifest')
return { 'ok', had, lease[1], lease[2], lease[3], lease[4] }
