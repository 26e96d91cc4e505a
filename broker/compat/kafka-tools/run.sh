#!/bin/bash
# Kafka's command-line tools, fetched by Maven, against the broker at BOOTSTRAP, or against one that is started for it.
source "$(dirname "${BASH_SOURCE[0]}")/../common/client.sh"
"$client/../kafka/kafka.sh" classpath >/dev/null
with_broker
judge "$client/checks_kafka_tools.sh"
