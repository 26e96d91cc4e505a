#!/bin/bash
# Runs the checks of every client, or of those that are named, each against a broker of its own, and adds the counts up.
#
#   broker/compat/run.sh [CLIENT...]                a release build of this tree (cargo build --release)
#   BROKER=kafka broker/compat/run.sh [CLIENT...]   Apache Kafka, to check the checks
#   BOOTSTRAP=HOST:PORT broker/compat/run.sh        a broker that runs already (no kill checks without BROKER_CONTROL)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
clients=("$@")
((${#clients[@]} > 0)) || clients=(confluent-kafka kcat kafka-python aiokafka kafkajs kafka-tools librdkafka differential)

passed=0 failed=0 skipped=0
output=$(mktemp)
trap 'rm -f "$output"' EXIT
for client in "${clients[@]}"; do
  echo "== $client"
  "$here/$client/run.sh" </dev/null 2>&1 | tee "$output" || true
  if [[ $(tail -1 "$output") =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed(,\ ([0-9]+)\ skipped)?$ ]]; then
    passed=$((passed + BASH_REMATCH[1]))
    failed=$((failed + BASH_REMATCH[2]))
    skipped=$((skipped + ${BASH_REMATCH[4]:-0}))
  else
    echo "# $client did not come to its counts"
    failed=$((failed + 1))
  fi
done
echo "== all clients"
echo "$passed passed, $failed failed$( ((skipped == 0)) || echo ", $skipped skipped")"
((failed == 0 && passed > 0))
