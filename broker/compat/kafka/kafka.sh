#!/bin/bash
# One Apache Kafka broker (KRaft, loopback) to compare with, and Kafka's own tools. Needs Java 17 or newer and Maven.
#
#   kafka.sh start [KEY=VALUE...]   format the directory if it is new, start with these extra properties, wait until it answers
#   kafka.sh kill | restart | stop  kill -9; start again with the same data and properties; stop gently
#   kafka.sh pid | bootstrap        of the running broker
#   kafka.sh classpath              the class path of broker and tools
#   kafka.sh tool CLASS ARGS...     one tool, for example `kafka.sh tool org.apache.kafka.tools.TopicCommand --list …`
#
# KAFKA_DIR   where data, log and pid file go (needed for all but classpath and tool)
# KAFKA_PORT  the broker's port; its controller takes the next one (default: two free ones, kept in KAFKA_DIR)
# KAFKA_HEAP  default 1g
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$here/../common/process.sh"
cache=${XDG_CACHE_HOME:-$HOME/.cache}/monedula-compat

classpath() {
  local file
  file=$cache/kafka-$(cksum <"$here/pom.xml" | cut -d' ' -f1).classpath
  if [[ ! -s $file ]]; then
    mkdir -p "$cache"
    mvn -q -B -f "$here/pom.xml" dependency:build-classpath -Dmdep.outputFile="$file.new" </dev/null >&2
    mv "$file.new" "$file"
  fi
  cat "$file"
}

tool() {
  local classpath
  classpath=$(classpath)
  exec java -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xshare:auto -cp "$classpath" \
    -Dlog4j2.configurationFile="$here/log4j2.properties" "$@"
}

directory() {
  dir=${KAFKA_DIR:?"set KAFKA_DIR to the directory of data, log and pid file"}
}

free_ports() {
  python3 "$here/../common/free_ports.py" 2
}

properties() { # port, extra properties...
  local port=$1
  shift
  cat <<P
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$((port + 1))
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$((port + 1))
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
advertised.listeners=PLAINTEXT://127.0.0.1:$port
log.dirs=$dir/data
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
P
  (($# == 0)) || printf '%s\n' "$@"
}

launch() {
  local heap=${KAFKA_HEAP:-1g} port classpath
  port=$(<"$dir/port")
  classpath=$(classpath)
  java -server -Xms"$heap" -Xmx"$heap" -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -XX:InitiatingHeapOccupancyPercent=35 \
    -Djava.awt.headless=true -cp "$classpath" -Dlog4j2.configurationFile="$here/log4j2.properties" \
    kafka.Kafka "$dir/server.properties" >>"$dir/log" 2>&1 </dev/null &
  echo $! >"$dir/pid"
  wait_for_port Kafka "$port" 60
}

command=${1:-help}
shift || true
case $command in
classpath) classpath ;;
tool) tool "$@" ;;
start)
  directory
  mkdir -p "$dir"
  classpath >/dev/null
  [[ -s $dir/port ]] || echo "${KAFKA_PORT:-$(free_ports)}" >"$dir/port"
  properties "$(<"$dir/port")" "$@" >"$dir/server.properties"
  [[ -d $dir/data ]] || (tool kafka.tools.StorageTool format -t "$(head -c 16 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=' | sed 's/^-/a/')" \
    -c "$dir/server.properties") >>"$dir/log" 2>&1
  launch
  echo "Kafka listens on 127.0.0.1:$(<"$dir/port"), pid $(<"$dir/pid")"
  ;;
kill) directory; halt Kafka KILL 30 ;;
restart) directory; halt Kafka TERM 30; launch ;;
stop) directory; halt Kafka TERM 30 ;;
pid) directory; cat "$dir/pid" ;;
bootstrap) directory; echo "127.0.0.1:$(<"$dir/port")" ;;
*) sed -n '2,13s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac
