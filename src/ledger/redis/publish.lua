-- KEYS share receipt upload
-- ARGV now token verifier password downloads expires kept size base manifest inline?(0|1) content fits(0|1)
--      whole(0|1) owner window length manifest_len
local receipt = redis.call('HMGET', KEYS[2], 'token', 'expires', 'abandoned', 'blob')
local blob = 1 - ARGV[11]
if receipt[1] then
  if receipt[1] ~= ARGV[2] then return { 'unknown' } end
  if receipt[2] then
    again(KEYS[2])
    return { 'ok', receipt[2] }
  end
  local window = redis.call('HGET', KEYS[3], 'window')
  -- A sweeper whose clock is ahead may have freed the blob already.
  local swept = blob == 1 and not receipt[4]
  if receipt[3] or not window or tonumber(window) <= tonumber(ARGV[1]) or swept then return { 'unknown' } end
elseif ARGV[14] == '0' then
  return { 'unknown' }
end
if ARGV[13] == '0' then return { 'full' } end
if blob == 1 then
  redis.call('HSET', KEYS[1], 'verifier', ARGV[3], 'password', ARGV[4], 'downloads', ARGV[5], 'left', ARGV[5],
    'expires', ARGV[6], 'size', ARGV[8], 'base', ARGV[9], 'blob', 1, 'manifest', ARGV[10])
else
  redis.call('HSET', KEYS[1], 'verifier', ARGV[3], 'password', ARGV[4], 'downloads', ARGV[5], 'left', ARGV[5],
    'expires', ARGV[6], 'size', ARGV[8], 'base', ARGV[9], 'blob', 0, 'manifest', ARGV[10], 'inline', ARGV[12])
end
redis.call('PEXPIREAT', KEYS[1], ARGV[6])
if receipt[1] then
  redis.call('HSET', KEYS[2], 'verifier', ARGV[3], 'password', ARGV[4], 'downloads', ARGV[5], 'expires', ARGV[6],
    'size', ARGV[8])
  if blob == 0 then redis.call('HDEL', KEYS[2], 'blob') end
else
  redis.call('HSET', KEYS[2], 'token', ARGV[2], 'owner', ARGV[15], 'verifier', ARGV[3], 'password', ARGV[4],
    'downloads', ARGV[5], 'created', ARGV[1], 'window', ARGV[16], 'expires', ARGV[6], 'size', ARGV[8], 'length', ARGV[17],
    'manifest_len', ARGV[18])
  if blob == 1 then redis.call('HSET', KEYS[2], 'blob', 1) end
end
redis.call('PEXPIREAT', KEYS[2], ARGV[7])
return { 'ok', ARGV[6] }
