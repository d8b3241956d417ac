-- KEYS upload receipt; ARGV now token kept
local receipt = redis.call('HMGET', KEYS[2], 'token', 'expires', 'abandoned', 'window', 'blob')
if receipt[1] ~= ARGV[2] then return { 'unknown' } end
if receipt[2] then return { 'published' } end
redis.call('DEL', KEYS[1])
if not receipt[3] and tonumber(receipt[4]) > tonumber(ARGV[1]) then
  redis.call('HSET', KEYS[2], 'abandoned', ARGV[1])
  redis.call('PEXPIREAT', KEYS[2], ARGV[3])
end
return { 'ok', receipt[5] }
