-- KEYS receipt. Writes, so that replicas can acknowledge what the receipt tells.
if redis.call('EXISTS', KEYS[1]) == 0 then return { 'unknown' } end
again(KEYS[1])
return { 'ok' }
