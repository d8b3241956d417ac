-- KEYS share receipt hits; ARGV now
local expires = redis.call('HGET', KEYS[1], 'expires')
if not expires or tonumber(expires) <= tonumber(ARGV[1]) then return 0 end
-- A write that is allowed at maxmemory comes first: a page is shown all the same.
redis.call('PEXPIREAT', KEYS[3], expires)
if redis.call('INCR', KEYS[3]) == 1 then redis.call('PEXPIREAT', KEYS[3], expires) end
redis.call('HINCRBY', KEYS[2], 'opened', 1)
return 1
