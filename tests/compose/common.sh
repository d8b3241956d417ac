# What the scripts here share. They run against services that are up already, and need curl and Docker.
set -euo pipefail

say() { printf '== %s\n' "$*"; }
fail() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }

# until SECONDS WHAT COMMAND...: asks until it is so.
until_so() {
  local end=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $end ] || fail "not in time: $what"
    sleep 0.2
  done
}

# send FILE AT: prints the link. A refusal for the time being is repeated.
send() { curl -fsS --retry 30 --retry-delay 1 --retry-all-errors -T "$1" "$2/"; }

# take LINK INTO AT: takes it at the server AT.
take() {
  local path=${1#*//}
  curl -fsSL --retry 30 --retry-delay 1 -d '' -o "$2" "$3/${path#*/}"
}

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
head -c 3000000 /dev/urandom > "$folder/file"
