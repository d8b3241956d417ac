-- Once is decided here. KEYS share receipt lease hits guesses
-- ARGV now claim verifier network lease_ends kept_for per_minute per_hour free
local now = tonumber(ARGV[1])
local field = 'c' .. ARGV[2]
local receipt = redis.call('HMGET', KEYS[2], field, 'blob', 'opened')
local had = receipt[1]
if had then
  local _, _, ends, finished, served = claim_of(had)
  local lease = redis.call('HMGET', KEYS[3], 'size', 'base', 'blob', 'manifest')
  again(KEYS[2])
  if finished ~= 0 or ends <= now or not lease[1] then return { 'claim', had } end
  return { 'ok', 1, lease[1], lease[2], lease[3], lease[4], ends, served }
end
local share = redis.call('HMGET', KEYS[1], 'verifier', 'password', 'expires', 'left', 'downloads', 'size', 'base', 'blob', 'manifest')
-- A sweeper whose clock is ahead may have freed the blob already.
local swept = share[8] == '1' and not receipt[2]
if not share[1] or tonumber(share[3]) <= now or swept then
  if redis.call('HGET', KEYS[2], 'verifier') == ARGV[3] then again(KEYS[2]) end
  return gone(KEYS[2], KEYS[5], ARGV[3], ARGV[4], now, tonumber(ARGV[7]), tonumber(ARGV[8]))
end
if share[2] == '1' then
  local wait = locked(KEYS[5], ARGV[4], now, tonumber(ARGV[7]), tonumber(ARGV[8]))
  if wait then return { 'locked', wait } end
end
if share[1] ~= ARGV[3] then return wrong(KEYS[2], KEYS[5], share[2], ARGV[4], now) end

local granted = share[5] - share[4] + 1
local ends = tonumber(ARGV[5])
-- All leases but the last have a copy. A small one always fits; many large ones might be more than Redis may hold.
local copied = share[4] == '1' and 0 or #share[9] + redis.call('HSTRLEN', KEYS[1], 'inline')
if copied > 4096 and copied > tonumber(ARGV[9]) then return { 'full' } end
-- Each branch begins with a write that is allowed at maxmemory: the rest is allowed then too.
if share[4] == '1' then
  -- The record becomes the lease's: the share is gone in this very step, and nothing is copied.
  redis.call('RENAME', KEYS[1], KEYS[3])
  if receipt[3] or share[2] == '1' then redis.call('DEL', KEYS[4], KEYS[5]) end
else
  redis.call('PEXPIREAT', KEYS[1], share[3])
  redis.call('HINCRBY', KEYS[1], 'left', -1)
  redis.call('HSET', KEYS[3], 'size', share[6], 'base', share[7], 'blob', share[8], 'manifest', share[9])
  if share[8] == '0' then redis.call('HSET', KEYS[3], 'inline', redis.call('HGET', KEYS[1], 'inline')) end
end
redis.call('PEXPIREAT', KEYS[3], ARGV[5])
local keep = math.max(ends, tonumber(share[3]))
if share[5] == '1' then
  redis.call('HSET', KEYS[2], field, '1 ' .. ARGV[1] .. ' ' .. ARGV[5] .. ' 0 0', 'granted', 1)
else
  keep = math.max(keep, tonumber(redis.call('HGET', KEYS[2], 'kept') or 0))
  redis.call('HSET', KEYS[2], field, claim_text(granted, ARGV[1], ends, 0, 0), 'granted', granted, 'kept', keep)
end
-- As it was published, the receipt is kept for so long after the expiry.
if keep > tonumber(share[3]) then redis.call('PEXPIREAT', KEYS[2], keep + ARGV[6]) end
return { 'ok', 0, share[6], share[7], share[8], share[9], ARGV[5], 0 }
