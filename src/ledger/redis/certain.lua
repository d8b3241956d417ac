-- KEYS confirmed. Writes, so that replicas can acknowledge it; a write that is allowed at maxmemory comes first.
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[1], 1, 'PX', 1000)
return 1
