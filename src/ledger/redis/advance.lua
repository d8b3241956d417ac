-- KEYS upload receipt due reserved; ARGV now id writer from to window|'' kept free
local upload = redis.call('HMGET', KEYS[1], 'window', 'length', 'offset', 'writer')
if not upload[1] or tonumber(upload[1]) <= tonumber(ARGV[1]) then return { 'unknown' } end
local receipt = redis.call('HMGET', KEYS[2], 'abandoned', 'expires')
if receipt[1] then return { 'unknown' } end
if upload[3] ~= ARGV[4] then
  if upload[3] == ARGV[5] and upload[4] == ARGV[3] then return { 'ok' } end
  return { 'conflict', upload[3] }
end
if receipt[2] then
  if ARGV[5] == upload[3] then return { 'ok' } end
  return { 'published' }
end
local step = tonumber(ARGV[5]) - tonumber(ARGV[4])
if upload[2] == '' then
  local total = tonumber(redis.call('HGET', KEYS[4], 'total') or 0)
  if total + step > tonumber(ARGV[8]) then return { 'full' } end
end
local window = upload[1]
if ARGV[6] ~= '' then window = ARGV[6] end
redis.call('HSET', KEYS[1], 'offset', ARGV[5], 'writer', ARGV[3], 'window', window)
if ARGV[6] ~= '' then
  redis.call('PEXPIREAT', KEYS[1], window)
  redis.call('HSET', KEYS[2], 'window', window)
  redis.call('PEXPIREAT', KEYS[2], ARGV[7])
  redis.call('ZADD', KEYS[3], window, ARGV[2])
end
local held = redis.call('HGET', KEYS[4], ARGV[2])
if held then
  local bytes = tonumber(string.match(held, '%d+'))
  local left = math.max(bytes - step, 0)
  redis.call('HSET', KEYS[4], ARGV[2], string.format('%.0f %s', left, window))
  redis.call('HINCRBY', KEYS[4], 'total', string.format('%.0f', left - bytes))
end
return { 'ok' }
