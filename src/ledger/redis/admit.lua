-- KEYS share guesses; ARGV now network per_minute per_hour
local now = tonumber(ARGV[1])
local share = redis.call('HMGET', KEYS[1], 'expires', 'password')
if not share[1] or tonumber(share[1]) <= now or share[2] ~= '1' then return { 'ok' } end
local wait = locked(KEYS[2], ARGV[2], now, tonumber(ARGV[3]), tonumber(ARGV[4]))
if wait then return { 'locked', wait } end
return { 'ok' }
