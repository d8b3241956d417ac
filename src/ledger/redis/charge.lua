-- KEYS receipt lease; ARGV now claim bytes limit lease_ends kept_for ''|doubted|acknowledged
-- Gives whether it was done, what is inline, and whether a blob's lease ends no later than it did.
local field = 'c' .. ARGV[2]
local receipt = redis.call('HMGET', KEYS[1], field, 'downloads', 'kept', 'blob')
if not receipt[1] then return { 'unknown' } end
local n, granted, ended, finished, served = claim_of(receipt[1])
if finished ~= 0 or ended <= tonumber(ARGV[1]) then return { 'claim', receipt[1] } end
local bytes = tonumber(ARGV[3])
served = math.max(served + bytes, 0)
if bytes > 0 and served > tonumber(ARGV[4]) then return { 'spent' } end
local lease = redis.call('HMGET', KEYS[2], 'blob', 'inline', 'acked')
-- A replica whose clock is ahead may have freed the bytes: what is freed is not charged for.
if not lease[1] or (lease[1] == '1' and not receipt[4]) then return { 'claim', receipt[1] } end
-- Nothing leaves for a claim that a failover might take back: on a master that was, it may stand beside another one.
if ARGV[7] == 'doubted' and not lease[3] then return { 'ok', 0 } end

-- The first write is one that is allowed at maxmemory: the rest is allowed then too.
local ends = tonumber(ARGV[5])
redis.call('PEXPIREAT', KEYS[2], ARGV[5])
if ARGV[7] == 'acknowledged' then redis.call('HSET', KEYS[2], 'acked', 1) end
local keep = ends
if receipt[2] == '1' then
  redis.call('HSET', KEYS[1], field, claim_text(n, granted, ends, 0, served))
else
  keep = math.max(ends, tonumber(receipt[3]))
  redis.call('HSET', KEYS[1], field, claim_text(n, granted, ends, 0, served), 'kept', keep)
end
redis.call('PEXPIREAT', KEYS[1], keep + ARGV[6])
return { 'ok', 1, lease[2], (lease[1] == '1' and ends <= ended) and 1 or 0 }
