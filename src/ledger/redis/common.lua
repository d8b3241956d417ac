-- What several transitions share. A receipt holds one field per claim: 'c' and the digest of its token.
-- Its value: which claim it is, when granted, when its lease ends, when finished (0: not yet), bytes served.
local function claim_of(text)
  local n, granted, ends, finished, served = string.match(text, '(%d+) (%d+) (%d+) (%d+) (%d+)')
  return n, granted, tonumber(ends), tonumber(finished), tonumber(served)
end

local function claim_text(n, granted, ends, finished, served)
  return string.format('%s %s %.0f %.0f %.0f', n, granted, ends, finished, served)
end

-- A transition that changes nothing, the second time or because it is too late, writes all the same: replicas acknowledge writes, and with each all
-- that came before it. A write that is allowed at maxmemory comes first: the rest is allowed then too.
local function again(receipt)
  redis.call('HDEL', receipt, '')
  redis.call('HINCRBY', receipt, 'seq', 1)
end

-- How long `network` may not try, in ms; nil where it may. Guesses: scored by time, named by network and number.
local function locked(guesses, network, now, per_minute, per_hour)
  if redis.call('ZCOUNT', guesses, '(' .. string.format('%.0f', now - 3600000), '+inf') == 0 then return nil end
  local oldest = redis.call('ZREVRANGE', guesses, per_hour - 1, per_hour - 1, 'WITHSCORES')[2]
  if oldest and tonumber(oldest) > now - 3600000 then return tonumber(oldest) + 3600000 - now end
  local recent = redis.call('ZREVRANGEBYSCORE', guesses, '+inf', '(' .. string.format('%.0f', now - 60000), 'WITHSCORES')
  local mine = 0
  for i = 1, #recent, 2 do
    if string.sub(recent[i], 1, #network) == network then
      mine = mine + 1
      if mine == per_minute then return tonumber(recent[i + 1]) + 60000 - now end
    end
  end
  return nil
end

-- Counts a guess against the limits. Must work at maxmemory, so a write that is allowed there comes first.
local function guessed(receipt, guesses, network, now)
  redis.call('ZREMRANGEBYSCORE', guesses, '-inf', string.format('%.0f', now - 3600000))
  redis.call('ZADD', guesses, now, network .. redis.call('HINCRBY', receipt, 'guesses', 1))
  redis.call('PEXPIREAT', guesses, now + 3600000)
end

-- Counts a wrong proof.
local function wrong(receipt, guesses, password, network, now)
  redis.call('ZREMRANGEBYSCORE', guesses, '-inf', string.format('%.0f', now - 3600000))
  redis.call('HINCRBY', receipt, 'wrong', 1)
  if password == '1' then guessed(receipt, guesses, network, now) end
  return { 'wrong' }
end

-- What a proof of a share that does not wait gets. Passwords are limited here too, for the answer tells a right one;
-- whoever has tried too many finds nothing.
local function gone(receipt, guesses, verifier, network, now, per_minute, per_hour)
  local known = redis.call('HMGET', receipt, 'password', 'verifier', 'expires')
  if known[1] == '1' and known[3] then
    if locked(guesses, network, now, per_minute, per_hour) then return { 'unknown' } end
    if known[2] ~= verifier then guessed(receipt, guesses, network, now) end
  end
  return { 'gone', redis.call('HGETALL', receipt) }
end
