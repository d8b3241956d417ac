-- KEYS share receipt guesses; ARGV now verifier|'' network per_minute per_hour
local now = tonumber(ARGV[1])
if ARGV[2] == '' then
  local share = redis.call('HMGET', KEYS[1], 'expires', 'size', 'password')
  if not share[1] or tonumber(share[1]) <= now then return { 'unknown' } end
  return { 'ok', share[2], share[3], share[1] }
end
local share = redis.call('HMGET', KEYS[1], 'expires', 'size', 'password', 'verifier', 'left', 'manifest')
if not share[1] or tonumber(share[1]) <= now then return { 'gone', redis.call('HGETALL', KEYS[2]) } end
if share[3] == '1' then
  local wait = locked(KEYS[3], ARGV[3], now, tonumber(ARGV[4]), tonumber(ARGV[5]))
  if wait then return { 'locked', wait } end
end
if share[4] ~= ARGV[2] then return wrong(KEYS[2], KEYS[3], share[3], ARGV[3], now) end
return { 'ok', share[2], share[3], share[1], share[6], share[5] }
