#!/bin/bash
# The same requests to Apache Kafka and to Monedula, answers compared: both are started here, or are those at KAFKA and
# MONEDULA (HOST:PORT). With MONEDULA=kafka a second Kafka takes Monedula's place, to check the comparison itself.
#
#   broker/compat/differential/run.sh [API...]     all that both serve, or these; `Frames` are the malformed ones
#
# LIMIT_S   seconds after which what is left counts as skipped (600). Where Kafka cannot be had, all is skipped.
source "$(dirname "${BASH_SOURCE[0]}")/../common/client.sh"
python=$(python_environment "$client/../kafka-python/requirements.txt")
stop_both() {
  KAFKA_DIR=$work/kafka "$client/../kafka/kafka.sh" stop || true
  KAFKA_DIR=$work/second "$client/../kafka/kafka.sh" stop || true
  BROKER_DIR=$work/monedula "$common/broker.sh" stop || true
}
trap 'stop_both; finish' EXIT
start() { # directory, control script
  KAFKA_DIR=$1 BROKER_DIR=$1 "$2" start group.initial.rebalance.delay.ms=0 >&2
  KAFKA_DIR=$1 BROKER_DIR=$1 "$2" bootstrap
}
left_out() {
  echo "# left out: $1"
  echo "0 passed, 0 failed, 1 skipped"
  exit 0
}
# What the other clients' scripts are told.
[[ ${BROKER:-} != kafka ]] || MONEDULA=${MONEDULA:-kafka}
MONEDULA=${MONEDULA:-${BOOTSTRAP:-}}
if [[ -z ${KAFKA:-} ]]; then
  command -v java >/dev/null && command -v mvn >/dev/null || left_out "Apache Kafka needs Java 17 and Maven"
  "$client/../kafka/kafka.sh" classpath >/dev/null || left_out "Maven does not get Apache Kafka, see above"
fi
kafka=${KAFKA:-$(start "$work/kafka" "$client/../kafka/kafka.sh")}
case $MONEDULA in
kafka) monedula=$(start "$work/second" "$client/../kafka/kafka.sh") ;;
"") monedula=$(start "$work/monedula" "$common/broker.sh") ;;
*) monedula=$MONEDULA ;;
esac
export LIMIT_S=${LIMIT_S:-600}
timeout --kill-after=10 "$((LIMIT_S + 60))" "$python" "$client/differential.py" "$kafka" "$monedula" "$@"
