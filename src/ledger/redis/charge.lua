-- KEYS receipt lease; ARGV now claim bytes limit lease_ends kept_for ''|doubted|acknowledged
-- Gives whether it was done, whether the content is in the lease, and whether a blob's lease ends no later than it did.
-- The content itself is read beside: Lua would hash every byte of it.
local field = 'c' .. ARGV[2]
local receipt = redis.call('HMGET', KEYS[1], field, 'kept', 'expires', 'blob')
if not receipt[1] then return { 'unknown' } end
local n, granted, ended, finished, served = claim_of(receipt[1])
if finished ~= 0 or ended <= tonumber(ARGV[1]) then return { 'claim', receipt[1] } end
local bytes = tonumber(ARGV[3])
served = math.max(served + bytes, 0)
if bytes > 0 and served > tonumber(ARGV[4]) then return { 'spent' } end
local lease = redis.call('HMGET', KEYS[2], 'blob', 'acked')
-- A replica whose clock is ahead may have freed the bytes: what is freed is not charged for.
if not lease[1] or (lease[1] == '1' and not receipt[4]) then return { 'claim', receipt[1] } end
-- Nothing leaves for a claim that a failover might take back: on a master that was, it may stand beside another one.
if ARGV[7] == 'doubted' and not lease[2] then return { 'ok', 0 } end

-- The first write is one that is allowed at maxmemory: the rest is allowed then too.
redis.call('PEXPIREAT', KEYS[2], ARGV[5])
if ARGV[7] == 'acknowledged' then redis.call('HSET', KEYS[2], 'acked', 1) end
redis.call('HSET', KEYS[1], field, n .. ' ' .. granted .. ' ' .. ARGV[5] .. ' 0 ' .. string.format('%.0f', served))
local ends = tonumber(ARGV[5])
-- With several downloads, when the last of all leases ends is in the receipt; with one, that is this one.
if ends > tonumber(receipt[2] or receipt[3]) then
  if receipt[2] then redis.call('HSET', KEYS[1], 'kept', ARGV[5]) end
  redis.call('PEXPIREAT', KEYS[1], ends + ARGV[6])
end
return { 'ok', 1, lease[1] == '0' and 1 or 0, (lease[1] == '1' and ends <= ended) and 1 or 0 }
