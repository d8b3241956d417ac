-- KEYS upload receipt due reserved
-- ARGV now id token owner verifier password downloads expires_in length|'' manifest_len window kept free
local token = redis.call('HGET', KEYS[2], 'token')
if token then return { token == ARGV[3] and 'ok' or 'unknown' } end
local length = tonumber(ARGV[9])
if length then
  local total = tonumber(redis.call('HGET', KEYS[4], 'total') or 0)
  if total + length > tonumber(ARGV[13]) then return { 'full' } end
end
redis.call('HSET', KEYS[1], 'verifier', ARGV[5], 'password', ARGV[6], 'downloads', ARGV[7], 'expires_in', ARGV[8],
  'length', ARGV[9], 'manifest_len', ARGV[10], 'offset', 0, 'window', ARGV[11])
redis.call('PEXPIREAT', KEYS[1], ARGV[11])
redis.call('HSET', KEYS[2], 'token', ARGV[3], 'owner', ARGV[4], 'verifier', ARGV[5], 'password', ARGV[6],
  'downloads', ARGV[7], 'created', ARGV[1], 'window', ARGV[11], 'blob', 1)
redis.call('PEXPIREAT', KEYS[2], ARGV[12])
redis.call('ZADD', KEYS[3], ARGV[11], ARGV[2])
if length then
  redis.call('HSET', KEYS[4], ARGV[2], ARGV[9] .. ' ' .. ARGV[11])
  redis.call('HINCRBY', KEYS[4], 'total', ARGV[9])
end
return { 'ok' }
