-- KEYS reserved; ARGV upload bytes until free|''. Sets what an upload still has to bring, or drops it at 0.
-- A write that is allowed at maxmemory comes first: what is given back is given back then too.
redis.call('HDEL', KEYS[1], '')
local had = redis.call('HGET', KEYS[1], ARGV[1])
local before = had and tonumber(string.match(had, '%d+')) or 0
local bytes = tonumber(ARGV[2])
if bytes == 0 and not had then return 1 end
local total = tonumber(redis.call('HGET', KEYS[1], 'total') or 0) - before + bytes
if ARGV[4] ~= '' and bytes > before and total > tonumber(ARGV[4]) then return 0 end
if bytes > 0 then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ' ' .. ARGV[3])
else
  redis.call('HDEL', KEYS[1], ARGV[1])
end
redis.call('HSET', KEYS[1], 'total', string.format('%.0f', math.max(total, 0)))
return 1
