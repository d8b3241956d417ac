-- KEYS upload receipt; ARGV now length
local upload = redis.call('HMGET', KEYS[1], 'window', 'length', 'offset')
if not upload[1] or tonumber(upload[1]) <= tonumber(ARGV[1]) then return { 'unknown' } end
if redis.call('HEXISTS', KEYS[2], 'abandoned') == 1 then return { 'unknown' } end
if upload[2] == ARGV[2] then return { 'ok' } end
if upload[2] ~= '' or tonumber(ARGV[2]) < tonumber(upload[3]) then return { 'conflict', upload[3] } end
redis.call('HSET', KEYS[1], 'length', ARGV[2])
return { 'ok' }
