#!/bin/bash
# confluent-kafka (librdkafka) against the broker at BOOTSTRAP, or against one that is started for it.
source "$(dirname "${BASH_SOURCE[0]}")/../common/client.sh"
python=$(python_environment "$client/requirements.txt")
with_broker
judge "$python" "$client/checks_confluent.py"
