#!/bin/bash
# librdkafka's own tests against the broker at BOOTSTRAP, or against one that is started for it.
#
# Two scripts of the conformance folder (MONEDULA_CONFORMANCE) build the tests from the crate that carries them and run
# one process for each; where they are not there, nothing is run. By default only tests that take QUICK_SECONDS at most,
# which is two minutes in all; LIBRDKAFKA=all runs everything that does not want another set-up, 25 minutes.
source "$(dirname "${BASH_SOURCE[0]}")/../common/client.sh"
QUICK_SECONDS=4
adapters=${MONEDULA_CONFORMANCE:-$client/../../../../shared/conformance}/adapters

if [[ ! -x $adapters/librdkafka_crate.sh || ! -e $adapters/librdkafka_run.py ]]; then
  echo "# left out: $adapters has no librdkafka_crate.sh and librdkafka_run.py; name their folder with MONEDULA_CONFORMANCE"
  echo "0 passed, 0 failed, 1 skipped"
  exit 0
fi
if [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null; then
  packages=(gcc g++ make pkg-config libssl-dev zlib1g-dev libzstd-dev liblz4-dev libsasl2-dev libcurl4-openssl-dev rapidjson-dev)
  dpkg -s "${packages[@]}" >/dev/null 2>&1 || { apt-get update -qq; apt-get install -y -qq --no-install-recommends "${packages[@]}"; } </dev/null >&2
fi
# The runner's parts need not be built again each time; some tests call scripts that need confluent-kafka.
tests=$(W=${LIBRDKAFKA_DIR:-$cache/librdkafka} "$adapters/librdkafka_crate.sh" 2>"$work/build") || { tail -20 "$work/build" >&2; exit 1; }
python=$(python_environment "$common/../confluent-kafka/requirements.txt")

if [[ ${LIBRDKAFKA:-quick} != all ]]; then
  CHECKS=$(sed -nE 's/^([0-9]{4}\S*) *# *([0-9]+)$/\1 \2/p' "$client/tests.allow" \
    | awk -v most="$QUICK_SECONDS" '$2 <= most { printf "%s%s", comma, $1; comma = "," }')
  export CHECKS
  only=(--only "$(tr ',' '\n' <<<"$CHECKS" | cut -c1-4 | sort -u | paste -sd,)")
fi

if [[ -z ${BOOTSTRAP:-} ]]; then
  own_broker=$common/broker.sh
  [[ ${BROKER:-monedula} != kafka ]] || own_broker=$common/../kafka/kafka.sh
  export BROKER_DIR=$work/broker KAFKA_DIR=$work/broker
  "$own_broker" start num.partitions=4 auto.create.topics.enable=true
  BOOTSTRAP=$("$own_broker" bootstrap)
fi
export BOOTSTRAP

# The runner's words, as the other clients' scripts say them.
run() {
  "$python" "$adapters/librdkafka_run.py" "$tests" ${only[@]+"${only[@]}"} --log "$work/log" \
    | sed -u -E 's/^passed +/ok /; s/^failed +/FAIL /; s/^skipped? +/skip /; /^[0-9]+ passed, /d'
}
export -f run
export python adapters tests work
CLIENT_LIMIT_S=${CLIENT_LIMIT_S:-$([[ ${LIBRDKAFKA:-quick} == all ]] && echo 2400 || echo 240)}
judge bash -c "$(declare -p only 2>/dev/null || true); run"
