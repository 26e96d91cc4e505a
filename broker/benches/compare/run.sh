#!/bin/bash
# Monedula beside Apache Kafka on this machine: the same load on both, in turns (ABAB), in one run. Absolute figures vary
# with machine and hour; the ratios are what to look at. Needs Java and Maven.
#
#   broker/benches/compare/run.sh [DIRECTORY]    where data and results go (default: a new temporary one, kept)
#
# ROUNDS=2 SECONDS_EACH=5 CONNECTIONS=4 DEPTH=5 (requests in flight on a connection) FILL_BYTES=1073741824
# A=monedula B=kafka: what to compare; A=kafka tells what noise looks like. MONEDULA_ARGS: of `monedula start`.
#
# Kafka runs with two kinds of topic: with flush.messages=1, where an acknowledged record is on disk as it always is with
# Monedula, and with Kafka's defaults, where it is in the page cache.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../../.." && pwd)
compat=$root/broker/compat
rounds=${ROUNDS:-2} seconds=${SECONDS_EACH:-5} connections=${CONNECTIONS:-4} depth=${DEPTH:-5} fill=${FILL_BYTES:-1073741824}
a=${A:-monedula} b=${B:-kafka}
dir=${1:-$(mktemp -d "${TMPDIR:-/tmp}/monedula-compare.XXXXXX")}
mkdir -p "$dir"
export BROKER_ARGS=${MONEDULA_ARGS:-}

control() { # side, words...
  local side=$1 kind
  shift
  [[ $side == a ]] && kind=$a || kind=$b
  case $kind in
  monedula) BROKER_DIR=$dir/$side "$compat/common/broker.sh" "$@" ;;
  kafka) KAFKA_DIR=$dir/$side "$compat/kafka/kafka.sh" "$@" ;;
  *) echo "A and B are monedula or kafka" >&2; exit 2 ;;
  esac
}
stop() {
  control a stop || true
  control b stop || true
  rm -rf "$dir/a/data" "$dir/b/data"
}
trap stop EXIT
trap 'exit 130' INT TERM

if [[ -z ${LOAD:-} ]]; then
  (cd "$root" && cargo build --release --quiet -p monedula-broker --bins --example load)
  LOAD=${CARGO_TARGET_DIR:-$root/target}/release/examples/load
fi

results=$dir/results.jsonl
: >"$results"
measure() { # side, round, name, topic, load command, options...
  local side=$1 round=$2 name=$3 topic=$4 command=$5 kind report
  shift 5
  [[ $side == a ]] && kind=$a || kind=$b
  report=$(timeout 180 "$LOAD" "$command" "$(control "$side" bootstrap)" "$topic" --pid "$(control "$side" pid)" "$@")
  echo "{\"side\": \"$side\", \"broker\": \"$kind\", \"round\": $round, \"measure\": \"$name\", \"result\": $report}" | tee -a "$results" >&2
}
create() { # side, topic, configs...
  timeout 60 "$LOAD" create "$(control "$1" bootstrap)" "$2" 4 "${@:3}"
  sleep 2 # Kafka answers before its partitions have leaders.
}
flush=(flush.messages=1)
side_flush() { [[ $1 == a ]] && kind=$a || kind=$b; [[ $kind == kafka ]] && echo "${flush[*]}" || true; }

for side in a b; do
  control "$side" start >&2
  # shellcheck disable=SC2046  no configs is no word
  create "$side" durable $(side_flush "$side")
  create "$side" default
  create "$side" catch-up
  # A warm JVM and grown files are what is compared.
  timeout 60 "$LOAD" closed "$(control "$side" bootstrap)" default --seconds "$seconds" --records 100 --depth "$depth" >/dev/null
  timeout 60 "$LOAD" closed "$(control "$side" bootstrap)" default --seconds "$seconds" --depth "$depth" >/dev/null
  timeout 60 "$LOAD" open "$(control "$side" bootstrap)" durable --seconds 2 >/dev/null
  timeout 120 "$LOAD" fill "$(control "$side" bootstrap)" catch-up --records 100 --bytes "$fill" >/dev/null
done

each=(--seconds "$seconds" --connections "$connections" --depth "$depth")
for round in $(seq "$rounds"); do
  for side in a b; do measure "$side" "$round" "open-durable" durable open --seconds "$seconds" --rate 1000; done
  for side in a b; do measure "$side" "$round" "closed-1" default closed "${each[@]}" --records 1; done
  for side in a b; do measure "$side" "$round" "closed-100" default closed "${each[@]}" --records 100; done
  for side in a b; do measure "$side" "$round" "catch-up" catch-up read; done
done

python3 "$here/report.py" "$results" >"$dir/report.md"
cat "$dir/report.md"
echo
echo "results: $results"
