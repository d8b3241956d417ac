-- KEYS upload receipt; ARGV now writer from to window|'' kept fits(0|1). Gives the length and until when the rest may come.
local upload = redis.call('HMGET', KEYS[1], 'window', 'length', 'offset', 'writer')
if not upload[1] or tonumber(upload[1]) <= tonumber(ARGV[1]) then return { 'unknown' } end
local receipt = redis.call('HMGET', KEYS[2], 'abandoned', 'expires')
if receipt[1] then return { 'unknown' } end
if upload[3] ~= ARGV[3] then
  if upload[3] == ARGV[4] and upload[4] == ARGV[2] then return { 'ok', upload[2], upload[1] } end
  return { 'conflict', upload[3] }
end
if receipt[2] then
  if ARGV[4] == upload[3] then return { 'ok', upload[2], upload[1] } end
  return { 'published' }
end
-- The window of one that can be resumed does not move with each step.
local resumable = ARGV[5] == ''
if resumable and upload[2] ~= '' and tonumber(ARGV[4]) > tonumber(upload[2]) then return { 'conflict', upload[3] } end
if upload[2] == '' and ARGV[7] == '0' then return { 'full' } end
local window = upload[1]
if not resumable then window = ARGV[5] end
redis.call('HSET', KEYS[1], 'offset', ARGV[4], 'writer', ARGV[2], 'window', window)
if not resumable then
  redis.call('PEXPIREAT', KEYS[1], window)
  redis.call('HSET', KEYS[2], 'window', window)
  redis.call('PEXPIREAT', KEYS[2], ARGV[6])
end
return { 'ok', upload[2], window }
