#!/bin/bash
# kcat's checks: one line for each (`ok NAME`, `FAIL NAME why`), the counts last. kcat has no admin requests, so its topics
# are made by the broker's auto-creation. Environment as in ../common/checks.py.
set -uo pipefail
broker=${BOOTSTRAP:-127.0.0.1:9092}
wanted=,${CHECKS:-},
prefix=kcat-$$-$RANDOM
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0 skipped=0

k() { timeout 40 kcat -b "$broker" -X socket.timeout.ms=15000 -X topic.metadata.refresh.interval.ms=500 "$@"; }
produce() { k -P -t "$1" -p "${partition:-0}" "${@:2}"; }
consume() { k -C -q -t "$1" -p "${partition:-0}" -e "${@:2}"; }
# Auto-creation takes a moment: the first producer of a topic waits for it.
create() { echo first | produce "$1" && [[ $(consume "$1" -o beginning) == first ]]; }
same() { # expected, got
  [[ $1 == "$2" ]] && return
  echo "want '${1:0:150}', got '${2:0:150}'" >&2
  return 1
}

check() { # name; the check is the function check_NAME, with _ for -
  local name=$1 started=$SECONDS status=0
  [[ $wanted == ,, || $wanted == *,$name,* ]] || return 0
  (set -e; "check_${name//-/_}" "$prefix-$name") >"$work/out" 2>"$work/err" || status=$?
  case $status in
  0) passed=$((passed + 1)); echo "ok   $name [$((SECONDS - started)) s]" ;;
  3) skipped=$((skipped + 1)); echo "skip $name $(tail -1 "$work/err")" ;;
  *) failed=$((failed + 1)); echo "FAIL $name $(tail -c 400 "$work/err" | tr '\n' ' ') [$((SECONDS - started)) s]" ;;
  esac
}

check_cluster() {
  k -L -J >"$work/list"
  python3 -c 'import json, sys; d = json.load(open(sys.argv[1])); assert d["brokers"] and d["originating_broker"]' "$work/list"
}
check_topic_auto_created() {
  create "$1"
  k -L -J -t "$1" | python3 -c 'import json, sys; (t,) = json.load(sys.stdin)["topics"]; assert t["partitions"], t'
}
check_produce_in_order() {
  seq 1 2000 | produce "$1"
  same "$(seq 1 2000 | cksum)" "$(consume "$1" -o beginning | cksum)"
}
check_produce_idempotent() {
  seq 1 500 | produce "$1" -X enable.idempotence=true
  same "$(seq 1 500 | cksum)" "$(consume "$1" -o beginning | cksum)"
}
acks() {
  create "$1"
  seq 1 100 | produce "$1" -X "acks=$2"
  same "$(echo first; seq 1 100)" "$(consume "$1" -o beginning)"
}
check_produce_acks_0() { acks "$1" 0; }
check_produce_acks_1() { acks "$1" 1; }
check_produce_acks_all() { acks "$1" all; }
check_seek() {
  seq 0 299 | produce "$1"
  same "$(seq 150 152)" "$(consume "$1" -o 150 -c 3)"
  same "$(seq 295 299)" "$(consume "$1" -o -5)"
  same "0 1 2" "$(consume "$1" -o beginning -c 3 -f '%o ' | sed 's/ $//')"
}
check_null_and_empty() {
  printf 'k:v\ntombstone:\n:no key\n' | produce "$1" -K: -Z
  same $'k 1 v 1\ntombstone 9  -1\n -1 no key 6' "$(consume "$1" -o beginning -f '%k %K %s %S\n')"
  printf 'empty value:\n' | produce "$1" -K:
  same "11 0" "$(consume "$1" -o 3 -f '%K %S\n')"
}
check_headers() {
  echo v | produce "$1" -H a=1 -H b=two -H a=3 -H empty=
  same "a=1,b=two,a=3,empty=" "$(consume "$1" -o beginning -f '%h\n')"
}
check_one_byte() {
  yes x | head -300 | produce "$1"
  same 300 "$(consume "$1" -o beginning | grep -c '^x$')"
}
check_one_megabyte() {
  head -c 1000000 /dev/urandom >"$work/large"
  produce "$1" -X message.max.bytes=2000000 "$work/large"
  same "$(cksum <"$work/large")" "$(consume "$1" -o beginning -D '' | cksum)"
}
codec() {
  seq 1 1000 | sed 's/$/ and some text that compresses/' >"$work/text"
  create "$1"
  produce "$1" -X linger.ms=50 -X "compression.codec=$2" <"$work/text"
  same "$(cksum <"$work/text")" "$(consume "$1" -o 1 | cksum)"
}
check_codec_none() { codec "$1" none; }
check_codec_gzip() { codec "$1" gzip; }
check_codec_snappy() { codec "$1" snappy; }
check_codec_lz4() { codec "$1" lz4; }
check_codec_zstd() { codec "$1" zstd; }
check_create_time() {
  local before after got
  before=$(date +%s%3N)
  echo v | produce "$1"
  after=$(date +%s%3N)
  got=$(consume "$1" -o beginning -f '%T\n')
  ((got >= before && got <= after)) || { echo "timestamp $got, sent between $before and $after" >&2; return 1; }
}
check_offsets_for_times() {
  local first now
  echo early | produce "$1"
  first=$(consume "$1" -o beginning -f '%T\n')
  sleep 1.1
  echo late | produce "$1"
  now=$(date +%s%3N)
  same "$1 [0] offset 0" "$(k -Q -t "$1:0:$first" 2>&1)"
  same "$1 [0] offset 1" "$(k -Q -t "$1:0:$((first + 1))" 2>&1)"
  same "$1 [0] offset -1" "$(k -Q -t "$1:0:$((now + 60000))" 2>&1)"
}
check_from_time() {
  local first
  echo early | produce "$1"
  first=$(consume "$1" -o beginning -f '%T\n')
  sleep 1.1
  echo late | produce "$1"
  same late "$(consume "$1" -o "s@$((first + 1))")"
}
check_autocommit_resumes() {
  seq 1 100 | produce "$1"
  same "$(seq 1 100)" "$(k -G "$1" -q -X auto.offset.reset=earliest -c 100 "$1")"
  seq 101 120 | produce "$1"
  same "$(seq 101 120)" "$(k -G "$1" -q -X auto.offset.reset=earliest -c 20 "$1")"
}
check_kill_acknowledged() {
  [[ -n ${BROKER_CONTROL:-} ]] || { echo "BROKER_CONTROL is not set" >&2; return 3; }
  create "$1"
  seq 1 2000 | produce "$1" -X acks=all
  $BROKER_CONTROL kill
  $BROKER_CONTROL restart >/dev/null
  for _ in $(seq 20); do
    [[ $(consume "$1" -o 0 -c 1 2>/dev/null) != first ]] || break
    sleep 1
  done
  same "$( (echo first; seq 1 2000) | cksum)" "$(consume "$1" -o beginning | cksum)"
  echo after | produce "$1"
  same after "$(consume "$1" -o 2001)"
}

for name in cluster topic-auto-created produce-in-order produce-idempotent produce-acks-0 produce-acks-1 produce-acks-all seek \
  null-and-empty headers one-byte one-megabyte codec-none codec-gzip codec-snappy codec-lz4 codec-zstd create-time \
  offsets-for-times from-time autocommit-resumes kill-acknowledged; do
  check "$name"
done
echo "$passed passed, $failed failed$( ((skipped == 0)) || echo ", $skipped skipped")"
((failed == 0 && passed > 0))
