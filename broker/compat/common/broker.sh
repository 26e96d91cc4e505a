#!/bin/bash
# One Monedula broker for checks: the same words as kafka/kafka.sh.
#
#   broker.sh start [KEY=VALUE...]   start on free loopback ports with these configuration lines, wait until it answers
#   broker.sh kill | restart | stop  kill -9; start again with the same data; stop gently
#   broker.sh pid | bootstrap        of the running broker
#
# BROKER_DIR     where data, log and pid file go
# BROKER_BINARY  default: target/release/monedula of this tree
# BROKER_ARGS    further arguments of `monedula start`
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$here/process.sh"
dir=${BROKER_DIR:?"set BROKER_DIR to the directory of data, log and pid file"}
root=$(cd "$here/../../.." && pwd)
binary=${BROKER_BINARY:-${CARGO_TARGET_DIR:-$root/target}/release/monedula}
# The shared listener, and one core-direct port for each core.
ports=$(($(nproc) + 1))

launch() {
  local port extra=()
  port=$(<"$dir/port")
  [[ ! -s $dir/config ]] || extra+=(--config "$dir/config")
  # shellcheck disable=SC2206  the arguments are words
  extra+=(${BROKER_ARGS:-})
  "$binary" start --data "$dir/data" --listen "127.0.0.1:$port" --core-listen "127.0.0.1:$((port + 1))" \
    ${extra[@]+"${extra[@]}"} >>"$dir/log" 2>&1 </dev/null &
  echo $! >"$dir/pid"
  wait_for_port "the broker" "$port" 30
}

case ${1:-help} in
start)
  shift
  [[ -x $binary ]] || { echo "no broker at $binary: cargo build --release" >&2; exit 1; }
  mkdir -p "$dir/data"
  [[ -s $dir/port ]] || python3 "$here/free_ports.py" "$ports" >"$dir/port"
  (($# == 0)) || printf '%s\n' "$@" >"$dir/config"
  launch
  echo "Monedula listens on 127.0.0.1:$(<"$dir/port"), pid $(<"$dir/pid")"
  ;;
kill) halt "the broker" KILL 15 ;;
restart) halt "the broker" TERM 15; launch ;;
stop) halt "the broker" TERM 15 ;;
pid) cat "$dir/pid" ;;
bootstrap) echo "127.0.0.1:$(<"$dir/port")" ;;
*) sed -n '2,10s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac
