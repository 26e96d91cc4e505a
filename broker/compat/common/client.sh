# What every client's run.sh begins and ends with; to be sourced. Installs go to a cache outside the tree; the broker is
# the one at BOOTSTRAP, or one that is started here and stopped at the end.
set -euo pipefail
client=$(cd "$(dirname "${BASH_SOURCE[1]}")" && pwd)
common=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$common/environments.sh"
work=$(mktemp -d "${TMPDIR:-/tmp}/monedula-compat.XXXXXX")

finish() {
  local status=$?
  trap - EXIT
  [[ -z ${own_broker:-} ]] || "$own_broker" stop || true
  rm -rf "$work"
  exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

# A broker to check, with BOOTSTRAP and BROKER_CONTROL exported. BROKER=kafka starts Apache Kafka.
with_broker() {
  if [[ -z ${BOOTSTRAP:-} ]]; then
    case ${BROKER:-monedula} in
    monedula) own_broker=$common/broker.sh ;;
    kafka) own_broker=$common/../kafka/kafka.sh ;;
    *) echo "BROKER is monedula or kafka" >&2; exit 2 ;;
    esac
    export BROKER_DIR=$work/broker KAFKA_DIR=$work/broker
    # A group of one need not wait for others, and kafkajs makes one for every read.
    "$own_broker" start group.initial.rebalance.delay.ms=0
    BOOTSTRAP=$("$own_broker" bootstrap)
    BROKER_CONTROL=$own_broker
  fi
  export BOOTSTRAP BROKER_CONTROL=${BROKER_CONTROL:-}
}

# Runs the client's checks and compares with tests.allow: what stands there must pass. A check that fails without
# standing there is known and counts as skipped; one that passes without standing there should be added.
judge() { # command...
  local output=$work/output status=0
  timeout --kill-after=10 "${CLIENT_LIMIT_S:-420}" "$@" </dev/null 2>&1 | tee "$output" || status=$?
  ((status != 124 && status != 137)) || echo "FAIL the-script was stopped after ${CLIENT_LIMIT_S:-420} s"
  python3 "$common/verdict.py" "$client/tests.allow" "$output"
}
