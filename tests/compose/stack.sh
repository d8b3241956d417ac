#!/usr/bin/env bash
# docker-stack.yml: deploys it on a swarm of this one machine, tries it, and takes it down.
. "$(dirname "$0")/common.sh"
port=${PORT:-8080}
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
(until_so 120 "five web servers and Redis" all_up) || {
  docker stack ps --no-trunc --format '{{.Name}} {{.CurrentState}} {{.Error}}' onetimeshare >&2
  docker service logs --tail 5 onetimeshare_web >&2
  exit 1
}
docker service ls

# Each of the five by itself, at its address on this machine.
addresses() {
  docker network inspect docker_gwbridge --format '{{range $id, $one := .Containers}}{{$id}} {{$one.IPv4Address}}{{"\n"}}{{end}}' |
    while read -r id address; do
      case $(docker inspect --format '{{.Name}}' "$id" 2>/dev/null) in /onetimeshare_web.*) echo "http://${address%/*}:8080" ;; esac
    done
}
mapfile -t at < <(addresses)
[ ${#at[@]} = 5 ] || fail "${#at[@]} web servers have an address"
for n in 0 1 2 3 4; do until_so 60 "${at[n]} is ready" curl -fsS "${at[n]}/readyz"; done
for n in 0 1 2 3 4; do
  link=$(send "$folder/file" "${at[n]}")
  take "$link" "$folder/got" "${at[(n + 1) % 5]}"
  cmp "$folder/file" "$folder/got" || fail "other bytes"
done
say "five shares, each sent at one of five web servers and taken at the next"

# The swarm's own spreading needs the kernel's IPVS.
if [ -e /proc/net/ip_vs ]; then
  until_so 60 "port $port answers" curl -fsS "http://127.0.0.1:$port/readyz"
  say "and port $port spreads over them"
else
  say "port $port was not tried: this kernel has no IPVS"
fi

# One that ends in order is replaced, too.
docker stop "$(docker ps -q --filter name=onetimeshare_web | head -1)" >/dev/null
gone() { [ "$(docker ps -q --filter name=onetimeshare_web | wc -l)" -lt 5 ] || ! all_up; }
until_so 60 "one is missed" gone
until_so 120 "five web servers again" all_up
say "one of five was stopped, and replaced"
