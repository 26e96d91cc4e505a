#!/bin/bash
# kcat (on an old librdkafka, as Debian ships it) against the broker at BOOTSTRAP, or against one that is started for it.
source "$(dirname "${BASH_SOURCE[0]}")/../common/client.sh"
if ! command -v kcat >/dev/null; then
  if [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null; then
    apt-get update -qq </dev/null >&2 && apt-get install -y -qq --no-install-recommends kcat </dev/null >&2
  else
    echo "kcat is not installed: install the package of that name" >&2
    exit 1
  fi
fi
with_broker
judge "$client/checks_kcat.sh"
