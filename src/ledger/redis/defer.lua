-- KEYS due; ARGV id seen|'' at. Moves a share that isn't due yet, unless somebody moved it since it was seen.
-- A write that is allowed at maxmemory comes first: what is due behind it is freed then too.
redis.call('ZREM', KEYS[1], '')
local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
if score and (ARGV[2] == '' or tonumber(score) == tonumber(ARGV[2])) then redis.call('ZADD', KEYS[1], ARGV[3], ARGV[1]) end
return 0
