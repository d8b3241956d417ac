-- KEYS upload receipt. Reads; an upload that was whole at once is told from its receipt.
local upload = redis.call('HMGET', KEYS[1], 'window', 'length', 'manifest_len', 'offset', 'verifier', 'password', 'downloads', 'expires_in')
local receipt = redis.call('HMGET', KEYS[2], 'token', 'expires', 'abandoned', 'window', 'length', 'manifest_len',
  'verifier', 'password', 'downloads', 'created')
return { 'ok', upload, receipt }
