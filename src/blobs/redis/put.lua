-- KEYS chunk; ARGV expires start bytes. A script, because a transaction can't follow a slot that is being moved.
redis.call('SETRANGE', KEYS[1], ARGV[2], ARGV[3])
return redis.call('PEXPIREAT', KEYS[1], ARGV[1])
