-- KEYS upload receipt reserved; ARGV now id length free
local upload = redis.call('HMGET', KEYS[1], 'window', 'length', 'offset')
if not upload[1] or tonumber(upload[1]) <= tonumber(ARGV[1]) then return { 'unknown' } end
if redis.call('HEXISTS', KEYS[2], 'abandoned') == 1 then return { 'unknown' } end
if upload[2] == ARGV[3] then return { 'ok' } end
if upload[2] ~= '' then return { 'conflict', upload[3] } end
local left = tonumber(ARGV[3]) - tonumber(upload[3])
if left < 0 then return { 'conflict', upload[3] } end
local total = tonumber(redis.call('HGET', KEYS[3], 'total') or 0)
if total + left > tonumber(ARGV[4]) then return { 'full' } end
redis.call('HSET', KEYS[1], 'length', ARGV[3])
redis.call('HSET', KEYS[3], ARGV[2], string.format('%.0f %s', left, upload[1]))
redis.call('HINCRBY', KEYS[3], 'total', string.format('%.0f', left))
return { 'ok' }
