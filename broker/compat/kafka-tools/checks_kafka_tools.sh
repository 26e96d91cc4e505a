#!/bin/bash
# Kafka's own command-line tools (the Java client): one line for each check (`ok NAME`, `FAIL NAME why`), the counts last.
# Environment as in ../common/checks.py; `tool CLASS ARGS` runs one tool in a JVM of its own.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
broker=${BOOTSTRAP:-127.0.0.1:9092}
wanted=,${CHECKS:-},
prefix=tools-$$-$RANDOM
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0 skipped=0

tools=org.apache.kafka.tools
tool() { timeout 60 "$here/../kafka/kafka.sh" tool "$@"; }
topics() { tool $tools.TopicCommand --bootstrap-server "$broker" "$@"; }
create() { topics --create --topic "$1" --partitions "${2:-1}" --replication-factor 1 "${@:3}" >&2; }
produce() { tool $tools.ConsoleProducer --bootstrap-server "$broker" --topic "$1" "${@:2}"; }
consume() { tool $tools.consumer.ConsoleConsumer --bootstrap-server "$broker" --topic "$1" --timeout-ms 20000 "${@:2}"; }
configs() { tool kafka.admin.ConfigCommand --bootstrap-server "$broker" "$@"; }
offsets() { tool $tools.GetOffsetShell --bootstrap-server "$broker" --topic "$@"; }
groups() { tool $tools.consumer.group.ConsumerGroupCommand --bootstrap-server "$broker" "$@"; }

same() { # expected, got
  [[ $1 == "$2" ]] && return
  echo "want '${1:0:150}', got '${2:0:150}'" >&2
  return 1
}
has() { # needle, text
  [[ $2 == *"$1"* ]] && return
  echo "no '$1' in '${2:0:300}'" >&2
  return 1
}

check() { # name; the check is the function check_NAME, with _ for -
  local name=$1 started=$SECONDS status=0
  [[ $wanted == ,, || $wanted == *,$name,* ]] || return 0
  (set -e; "check_${name//-/_}" "$prefix-$name") >"$work/out" 2>"$work/err" || status=$?
  case $status in
  0) passed=$((passed + 1)); echo "ok   $name [$((SECONDS - started)) s]" ;;
  3) skipped=$((skipped + 1)); echo "skip $name $(tail -1 "$work/err")" ;;
  *) failed=$((failed + 1)); echo "FAIL $name $(tail -c 500 "$work/err" | tr '\n' ' ') [$((SECONDS - started)) s]" ;;
  esac
}

check_api_versions() {
  has "Produce(0):" "$(tool $tools.BrokerApiVersionsCommand --bootstrap-server "$broker")"
}
check_topic_life() {
  create "$1" 3 --config retention.ms=7654321
  local described
  described=$(topics --describe --topic "$1")
  has "PartitionCount: 3" "$described"
  has "retention.ms=7654321" "$described"
  has "Partition: 2" "$described"
  topics --alter --topic "$1" --partitions 5
  has "PartitionCount: 5" "$(topics --describe --topic "$1")"
  has "$1" "$(topics --list)"
  topics --delete --topic "$1"
  [[ $(topics --list) != *"$1"* ]]
}
check_topic_exists() {
  create "$1"
  local said
  said=$(create "$1" 2>&1) && return 1
  has "already exists" "$said"
}
check_configs() {
  create "$1"
  configs --alter --entity-type topics --entity-name "$1" --add-config retention.ms=1234567,max.message.bytes=20000
  local described
  described=$(configs --describe --entity-type topics --entity-name "$1")
  has "retention.ms=1234567" "$described"
  has "max.message.bytes=20000" "$described"
  configs --alter --entity-type topics --entity-name "$1" --delete-config retention.ms
  [[ $(configs --describe --entity-type topics --entity-name "$1") != *retention.ms=1234567* ]]
  has "cleanup.policy=delete" "$(configs --describe --all --entity-type topics --entity-name "$1")"
}
check_broker_configs() {
  has "log.retention.hours=168" "$(configs --describe --all --entity-type brokers --entity-name "$(first_node)")"
}
first_node() { topics --describe --topic "$prefix-nodes" 2>/dev/null | grep -o 'Leader: [0-9]*' | head -1 | cut -d' ' -f2 | grep . \
  || { create "$prefix-nodes"; topics --describe --topic "$prefix-nodes" | grep -o 'Leader: [0-9]*' | head -1 | cut -d' ' -f2; }; }
check_console() {
  create "$1"
  seq 1 500 | produce "$1"
  same "$(seq 1 500 | cksum)" "$(consume "$1" --from-beginning --max-messages 500 | cksum)"
  same $'CreateTime Partition:0 Offset:7 8' "$(consume "$1" --partition 0 --offset 7 --max-messages 1 \
    --formatter-property print.timestamp=true --formatter-property print.partition=true --formatter-property print.offset=true |
    sed -E 's/CreateTime:[0-9]+/CreateTime/' | tr '\t' ' ')"
}
check_keys_and_headers() {
  create "$1"
  printf 'h:1,g:2\tk\tv\nh:3\tk2\tNULL\n' | produce "$1" --reader-property parse.key=true --reader-property parse.headers=true --reader-property null.marker=NULL
  same $'h:1,g:2\tk\tv\nh:3\tk2\tnull' "$(consume "$1" --from-beginning --max-messages 2 --formatter-property print.key=true --formatter-property print.headers=true)"
}
codec() {
  create "$1"
  seq 1 1000 | produce "$1" --compression-codec "$2" --producer-property linger.ms=100
  same "$(seq 1 1000 | cksum)" "$(consume "$1" --from-beginning --max-messages 1000 | cksum)"
}
check_codec_gzip() { codec "$1" gzip; }
check_codec_snappy() { codec "$1" snappy; }
check_codec_lz4() { codec "$1" lz4; }
check_codec_zstd() { codec "$1" zstd; }
check_offsets() {
  create "$1" 2
  seq 1 40 | produce "$1" --producer-property partitioner.ignore.keys=true
  local total=0 line
  for line in $(offsets "$1" --time latest | cut -d: -f3); do total=$((total + line)); done
  same 40 "$total"
  same "$1:0:0 $1:1:0" "$(offsets "$1" --time earliest | xargs)"
  same "$1:0:0" "$(offsets "$1:0" --time 1000 | sed "s/^$1:0:\$/$1:0:0/" | xargs)"
  has "$1:" "$(offsets "$1" --time max-timestamp)"
}
check_delete_records() {
  create "$1"
  seq 1 20 | produce "$1"
  echo "{\"partitions\": [{\"topic\": \"$1\", \"partition\": 0, \"offset\": 12}], \"version\": 1}" >"$work/delete.json"
  has "low_watermark: 12" "$(tool $tools.DeleteRecordsCommand --bootstrap-server "$broker" --offset-json-file "$work/delete.json")"
  same "$1:0:12" "$(offsets "$1" --time earliest)"
  same 13 "$(consume "$1" --from-beginning --max-messages 1)"
}
check_log_dirs() {
  create "$1"
  head -c 5000 /dev/zero | tr '\0' x | produce "$1"
  tool $tools.LogDirsCommand --bootstrap-server "$broker" --describe --topic-list "$1" | grep '^{' |
    python3 -c 'import json, sys; print(max(p["size"] for b in json.load(sys.stdin)["brokers"] for d in b["logDirs"] for p in d["partitions"]))' >"$work/size"
  (($(<"$work/size") > 5000)) || { echo "size $(<"$work/size")" >&2; return 1; }
}
check_group() {
  create "$1"
  seq 1 30 | produce "$1"
  same "$(seq 1 30 | cksum)" "$(consume "$1" --group "$1" --from-beginning --max-messages 30 | cksum)"
  seq 31 40 | produce "$1"
  same "$(seq 31 40 | cksum)" "$(consume "$1" --group "$1" --max-messages 10 | cksum)"
  has "$1" "$(groups --list)"
  same "40 40 0" "$(groups --describe --group "$1" | awk -v t="$1" '$2 == t {print $4, $5, $6}')"
}
check_performance() {
  create "$1" 4
  has "20000 records sent" "$(tool $tools.ProducerPerformance --topic "$1" --num-records 20000 --record-size 1000 --throughput -1 \
    --bootstrap-server "$broker" --command-property acks=all | tail -1)"
  local read
  read=$(tool $tools.ConsumerPerformance --bootstrap-server "$broker" --topic "$1" --num-records 20000 --timeout 30000 | tail -1 | cut -d, -f5)
  ((read >= 20000)) || { echo "read ${read}" >&2; return 1; }
}
check_kill_acknowledged() {
  [[ -n ${BROKER_CONTROL:-} ]] || { echo "BROKER_CONTROL is not set" >&2; return 3; }
  create "$1"
  # Slow enough to be in the middle of it; prints each acknowledged record as JSON.
  tool $tools.VerifiableProducer --bootstrap-server "$broker" --topic "$1" --max-messages 3000 --throughput 500 --acks -1 >"$work/sent" &
  local producer=$!
  until (($(grep -c producer_send_success "$work/sent") > 500)); do
    kill -0 "$producer" || { cat "$work/sent" >&2; return 1; }
    sleep 0.2
  done
  $BROKER_CONTROL kill
  $BROKER_CONTROL restart >/dev/null
  wait "$producer"
  local end
  end=$(offsets "$1" --time latest | cut -d: -f3)
  consume "$1" --from-beginning --max-messages "$end" --formatter-property print.offset=true >"$work/stored"
  python3 - "$work/sent" "$work/stored" <<'P'
import json, sys
sent = [json.loads(line) for line in open(sys.argv[1])]
sent = {record["offset"]: record["value"] for record in sent if record["name"] == "producer_send_success"}
stored = dict((int(offset.removeprefix("Offset:")), value) for offset, value in (line.rstrip("\n").split("\t") for line in open(sys.argv[2])))
assert len(sent) > 500, len(sent)
lost = {offset: value for offset, value in sent.items() if stored.get(offset) != value}
assert not lost, f"{len(lost)} acknowledged records are not where they were said to be: {list(lost.items())[:3]}"
twice = len(stored) - len(set(stored.values()))
assert not twice, f"{twice} records are stored twice, though the producer is idempotent"
P
}

for name in api-versions topic-life topic-exists configs broker-configs console keys-and-headers codec-gzip codec-snappy codec-lz4 codec-zstd \
  offsets delete-records log-dirs group performance kill-acknowledged; do
  check "$name"
done
echo "$passed passed, $failed failed$( ((skipped == 0)) || echo ", $skipped skipped")"
((failed == 0 && passed > 0))
