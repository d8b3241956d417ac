-- KEYS upload receipt due reserved; ARGV now id token kept
local receipt = redis.call('HMGET', KEYS[2], 'token', 'expires', 'abandoned', 'window', 'blob')
if receipt[1] ~= ARGV[3] then return { 'unknown' } end
if receipt[2] then return { 'published' } end
redis.call('DEL', KEYS[1])
release(KEYS[4], ARGV[2])
if not receipt[3] and tonumber(receipt[4]) > tonumber(ARGV[1]) then
  redis.call('HSET', KEYS[2], 'abandoned', ARGV[1])
  redis.call('PEXPIREAT', KEYS[2], ARGV[4])
  redis.call('ZADD', KEYS[3], ARGV[1], ARGV[2])
end
return { 'ok', receipt[5] }
