-- KEYS share receipt guesses; ARGV now network per_minute per_hour
local now = tonumber(ARGV[1])
local known = redis.call('HMGET', KEYS[2], 'expires', 'password')
if not known[1] then return { 'unknown' } end
if known[2] ~= '1' then return { 'ok', 0 } end
local wait = locked(KEYS[3], ARGV[2], now, tonumber(ARGV[3]), tonumber(ARGV[4]))
if not wait then return { 'ok', 1 } end
local waits = redis.call('HGET', KEYS[1], 'expires')
if waits and tonumber(waits) > now then return { 'locked', wait } end
return { 'unknown' }
