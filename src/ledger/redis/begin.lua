-- KEYS upload receipt
-- ARGV now token owner verifier password downloads expires_in length|'' manifest_len window kept
local token = redis.call('HGET', KEYS[2], 'token')
if token then return { token == ARGV[2] and 'ok' or 'unknown' } end
redis.call('HSET', KEYS[1], 'verifier', ARGV[4], 'password', ARGV[5], 'downloads', ARGV[6], 'expires_in', ARGV[7],
  'length', ARGV[8], 'manifest_len', ARGV[9], 'offset', 0, 'window', ARGV[10])
redis.call('PEXPIREAT', KEYS[1], ARGV[10])
redis.call('HSET', KEYS[2], 'token', ARGV[2], 'owner', ARGV[3], 'verifier', ARGV[4], 'password', ARGV[5],
  'downloads', ARGV[6], 'created', ARGV[1], 'window', ARGV[10], 'blob', 1)
redis.call('PEXPIREAT', KEYS[2], ARGV[11])
return { 'ok' }
