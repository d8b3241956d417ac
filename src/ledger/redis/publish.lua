-- KEYS share receipt upload due reserved
-- ARGV now id token verifier password downloads expires kept size base manifest inline?(0|1) content fits(0|1)
--      whole(0|1) owner window length manifest_len
local receipt = redis.call('HMGET', KEYS[2], 'token', 'expires', 'abandoned')
local blob = 1 - ARGV[12]
if receipt[1] then
  if receipt[1] ~= ARGV[3] then return { 'unknown' } end
  if receipt[2] then
    again(KEYS[2])
    return { 'ok', receipt[2] }
  end
  local window = redis.call('HGET', KEYS[3], 'window')
  if receipt[3] or not window or tonumber(window) <= tonumber(ARGV[1]) then return { 'unknown' } end
elseif ARGV[15] == '0' then
  return { 'unknown' }
end
if ARGV[14] == '0' then return { 'full' } end
if blob == 1 then
  redis.call('HSET', KEYS[1], 'verifier', ARGV[4], 'password', ARGV[5], 'downloads', ARGV[6], 'left', ARGV[6],
    'expires', ARGV[7], 'size', ARGV[9], 'base', ARGV[10], 'blob', 1, 'manifest', ARGV[11])
else
  redis.call('HSET', KEYS[1], 'verifier', ARGV[4], 'password', ARGV[5], 'downloads', ARGV[6], 'left', ARGV[6],
    'expires', ARGV[7], 'size', ARGV[9], 'base', ARGV[10], 'blob', 0, 'manifest', ARGV[11], 'inline', ARGV[13])
end
redis.call('PEXPIREAT', KEYS[1], ARGV[7])
if receipt[1] then
  redis.call('HSET', KEYS[2], 'verifier', ARGV[4], 'password', ARGV[5], 'downloads', ARGV[6], 'expires', ARGV[7],
    'size', ARGV[9])
  release(KEYS[5], ARGV[2])
  if blob == 0 then
    redis.call('HDEL', KEYS[2], 'blob')
    redis.call('ZREM', KEYS[4], ARGV[2])
  end
else
  redis.call('HSET', KEYS[2], 'token', ARGV[3], 'owner', ARGV[16], 'verifier', ARGV[4], 'password', ARGV[5],
    'downloads', ARGV[6], 'created', ARGV[1], 'window', ARGV[17], 'expires', ARGV[7], 'size', ARGV[9], 'length', ARGV[18],
    'manifest_len', ARGV[19])
  if blob == 1 then redis.call('HSET', KEYS[2], 'blob', 1) end
end
redis.call('PEXPIREAT', KEYS[2], ARGV[8])
if blob == 1 then redis.call('ZADD', KEYS[4], ARGV[7], ARGV[2]) end
return { 'ok', ARGV[7] }
