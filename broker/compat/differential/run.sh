#!/bin/bash
# The same requests to Apache Kafka and to Monedula, answers compared: both are started here, or are those at KAFKA and
# MONEDULA (HOST:PORT). With MONEDULA=kafka a second Kafka takes Monedula's place, to check the comparison itself.
#
#   broker/compat/differential/run.sh [API...]
source "$(dirname "${BASH_SOURCE[0]}")/../common/client.sh"
python=$(python_environment "$client/../kafka-python/requirements.txt")
stop_both() {
  KAFKA_DIR=$work/kafka "$client/../kafka/kafka.sh" stop || true
  KAFKA_DIR=$work/second "$client/../kafka/kafka.sh" stop || true
  BROKER_DIR=$work/monedula "$common/broker.sh" stop || true
}
trap 'stop_both; finish' EXIT
start() { # directory, control script
  KAFKA_DIR=$1 BROKER_DIR=$1 "$2" start >&2
  KAFKA_DIR=$1 BROKER_DIR=$1 "$2" bootstrap
}
kafka=${KAFKA:-$(start "$work/kafka" "$client/../kafka/kafka.sh")}
case ${MONEDULA:-} in
kafka) monedula=$(start "$work/second" "$client/../kafka/kafka.sh") ;;
"") monedula=$(start "$work/monedula" "$common/broker.sh") ;;
*) monedula=$MONEDULA ;;
esac
timeout --kill-after=10 "${CLIENT_LIMIT_S:-600}" "$python" "$client/differential.py" "$kafka" "$monedula" "$@"
