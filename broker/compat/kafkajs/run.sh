#!/bin/bash
# kafkajs against the broker at BOOTSTRAP, or against one that is started for it.
source "$(dirname "${BASH_SOURCE[0]}")/../common/client.sh"
modules=$(node_environment "$client")
with_broker
NODE_PATH=$modules/node_modules judge node "$client/checks_kafkajs.js"
