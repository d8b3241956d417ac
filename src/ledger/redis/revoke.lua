-- KEYS receipt share hits guesses; ARGV now owner|'' kept
local now = tonumber(ARGV[1])
local receipt = redis.call('HMGET', KEYS[1], 'owner', 'expires', 'revoked', 'abandoned', 'window', 'downloads', 'granted')
local operator = ARGV[2] == ''
if not receipt[1] or not (operator or receipt[1] == ARGV[2]) then return { 'unknown' } end
local spent = receipt[2] and tonumber(receipt[7] or 0) >= tonumber(receipt[6])
if spent and not operator then return { 'claimed' } end
redis.call('DEL', KEYS[2], KEYS[3], KEYS[4])
again(KEYS[1])
local all = redis.call('HGETALL', KEYS[1])
local leased = false
for i = 1, #all, 2 do
  if #all[i] == 33 and string.sub(all[i], 1, 1) == 'c' then
    local n, granted, ends, finished, served = claim_of(all[i + 1])
    if finished == 0 and ends > now then
      if operator then
        redis.call('HSET', KEYS[1], all[i], claim_text(n, granted, now, 0, served))
      else
        leased = true
      end
    end
  end
end
local ended = receipt[3] or receipt[4]
if not ended and receipt[2] and not spent and tonumber(receipt[2]) > now then
  redis.call('HSET', KEYS[1], 'revoked', ARGV[1])
  if not leased then redis.call('PEXPIREAT', KEYS[1], ARGV[3]) end
elseif not ended and not receipt[2] and tonumber(receipt[5]) > now then
  redis.call('HSET', KEYS[1], 'abandoned', ARGV[1])
  redis.call('PEXPIREAT', KEYS[1], ARGV[3])
end
return { 'ok', redis.call('HGETALL', KEYS[1]) }
