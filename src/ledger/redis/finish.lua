-- KEYS receipt lease; ARGV now claim kept
local field = 'c' .. ARGV[2]
local receipt = redis.call('HMGET', KEYS[1], field, 'downloads', 'blob')
if not receipt[1] then return { 'unknown' } end
again(KEYS[1])
local n, granted, ends, finished, served = claim_of(receipt[1])
if finished == 0 then
  if ends <= tonumber(ARGV[1]) then return { 'claim', receipt[1] } end
  redis.call('DEL', KEYS[2])
  redis.call('HSET', KEYS[1], field, claim_text(n, granted, ends, ARGV[1], served))
  if receipt[2] == '1' then redis.call('PEXPIREAT', KEYS[1], ARGV[3]) end
end
if receipt[3] then return { 'ok', redis.call('HGETALL', KEYS[1]) } end
return { 'ok' }
