-- KEYS seen. A write that is allowed at maxmemory comes first.
redis.call('PERSIST', KEYS[1])
return redis.call('INCR', KEYS[1])
