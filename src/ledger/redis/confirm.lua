-- KEYS receipt lease; ARGV now claim. Writes, so that replicas can acknowledge what led to it.
local had = redis.call('HGET', KEYS[1], 'c' .. ARGV[2])
if not had then return { 'unknown' } end
again(KEYS[1])
local _, _, ends, finished = claim_of(had)
if finished ~= 0 or ends <= tonumber(ARGV[1]) or redis.call('EXISTS', KEYS[2]) == 0 then return { 'claim', had } end
return { 'ok' }
