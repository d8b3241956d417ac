#!/usr/bin/env bash
# docker-compose.yml with three web servers: PORTS=8080-8082 docker-compose up --build -d --scale web=3; tests/compose/compose.sh
. "$(dirname "$0")/common.sh"
at=(http://127.0.0.1:8080 http://127.0.0.1:8081 http://127.0.0.1:8082)
for server in "${at[@]}"; do until_so 60 "$server is ready" curl -fsS "$server/readyz"; done
for n in 0 1 2; do
  link=$(send "$folder/file" "${at[n]}")
  take "$link" "$folder/got" "${at[(n + 1) % 3]}"
  cmp "$folder/file" "$folder/got" || fail "other bytes"
  status=$(curl -s -o /dev/null -w '%{http_code}' -d '' "${at[(n + 2) % 3]}/${link#*//*/}")
  [ "$status" = 410 ] || fail "taken twice: $status"
done
say "three servers on one Redis: sent at one, taken at the next, gone at the third"
