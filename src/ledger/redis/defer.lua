-- KEYS due; ARGV id seen free_at. Moves a share that isn't due yet, unless somebody moved it since it was seen.
local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
if score and tonumber(score) == tonumber(ARGV[2]) then redis.call('ZADD', KEYS[1], ARGV[3], ARGV[1]) end
return 0
