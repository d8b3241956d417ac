#!/usr/bin/env bash
# docker-stack.yml: deploys it on a swarm of this one machine, tries it, and takes it down.
. "$(dirname "$0")/common.sh"
at=http://127.0.0.1:${PORT:-8080}
made_swarm=
if [ "$(docker info --format '{{.Swarm.LocalNodeState}}')" != active ]; then
  docker swarm init --advertise-addr 127.0.0.1 >/dev/null
  made_swarm=1
fi
clean() {
  docker stack rm onetimeshare >/dev/null 2>&1 || true
  if [ -n "$made_swarm" ]; then docker swarm leave --force >/dev/null; fi
  rm -rf "$folder"
}
trap clean EXIT
docker stack deploy -c docker-stack.yml onetimeshare
all_up() { [ "$(docker service ls --format '{{.Name}} {{.Replicas}}' | grep -c 'web 5/5\|redis 1/1')" = 2 ]; }
until_so 120 "five web servers and Redis" all_up
until_so 60 "it is ready" curl -fsS "$at/readyz"
docker service ls
for n in 1 2 3 4 5; do
  link=$(send "$folder/file" "$at")
  take "$link" "$folder/got" "$at"
  cmp "$folder/file" "$folder/got" || fail "other bytes"
done
say "five shares through five web servers"
