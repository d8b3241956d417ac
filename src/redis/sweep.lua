-- KEYS reserved; ARGV now. Drops the reservations whose time is over, counts the rest anew, gives their sum.
-- A write that is allowed at maxmemory comes first: the rest is allowed then too.
redis.call('HDEL', KEYS[1], '')
local all = redis.call('HGETALL', KEYS[1])
local total = 0
for i = 1, #all, 2 do
  local bytes, ends = string.match(all[i + 1], '(%d+) (%d+)')
  if bytes and tonumber(ends) > tonumber(ARGV[1]) then
    total = total + tonumber(bytes)
  elseif all[i] ~= 'total' then
    redis.call('HDEL', KEYS[1], all[i])
  end
end
if total > 0 then redis.call('HSET', KEYS[1], 'total', string.format('%.0f', total)) else redis.call('DEL', KEYS[1]) end
return total
