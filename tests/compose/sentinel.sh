#!/usr/bin/env bash
# docker-compose.sentinel.yml: docker-compose -f docker-compose.sentinel.yml up --build -d; tests/compose/sentinel.sh
# Kills the master with a share waiting, and takes it from the one that follows.
. "$(dirname "$0")/common.sh"
at=http://127.0.0.1:8080
export COMPOSE_FILE=${COMPOSE_FILE:-docker-compose.sentinel.yml}

role_of() { docker-compose exec -T "$1" redis-cli role | head -1 | tr -d '\r'; }
master() { for redis in redis-1 redis-2 redis-3; do if [ "$(role_of $redis 2>/dev/null)" = master ]; then echo $redis; fi; done; }
is_new_master() { local now; now=$(master); [ -n "$now" ] && [ "$now" != "$old" ]; }

until_so 90 "the server is ready" curl -fsS $at/readyz
# Sentinels ask every ten seconds who follows the master: a replica that they don't know yet would follow the dead one on.
knows_both() { for n in 1 2 3; do [ "$(docker-compose exec -T sentinel-$n redis-cli -p 26379 sentinel replicas onetimeshare | grep -c '^name')" = 2 ] || return 1; done; }
until_so 60 "every Sentinel knows both replicas" knows_both
before=$(send "$folder/file" $at)
old=$(master)
say "the master is $old: docker kill"
docker kill "$(docker-compose ps -q "$old")" >/dev/null
killed=$SECONDS
after=$(send "$folder/file" $at)
say "a new share was accepted after $((SECONDS - killed)) s"
until_so 60 "another master" is_new_master
say "the master is $(master)"
for link in "$before" "$after"; do
  take "$link" "$folder/got" $at
  cmp "$folder/file" "$folder/got" || fail "other bytes"
  status=$(curl -s -o /dev/null -w '%{http_code}' -d '' "$at/${link#*//*/}")
  [ "$status" = 410 ] || fail "taken twice: $status"
done
say "both shares arrived, and are gone"
docker-compose up -d "$old" >/dev/null 2>&1
is_replica() { [ "$(role_of "$old")" = slave ]; }
until_so 60 "$old follows" is_replica
say "$old is back, as a replica"
