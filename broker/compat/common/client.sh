# What every client's run.sh begins and ends with; to be sourced. Installs go to a cache outside the tree; the broker is
# the one at BOOTSTRAP, or one that is started here and stopped at the end.
set -euo pipefail
client=$(cd "$(dirname "${BASH_SOURCE[1]}")" && pwd)
common=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/monedula-compat
mkdir -p "$cache"
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
    "$own_broker" start
    BOOTSTRAP=$("$own_broker" bootstrap)
    BROKER_CONTROL=$own_broker
  fi
  export BOOTSTRAP BROKER_CONTROL=${BROKER_CONTROL:-}
}

# A Python environment with the client's requirements; prints its interpreter. Made anew when the requirements change.
python_environment() { # requirements file
  local sum environment
  sum=$(cat "$1" <(python3 --version) | cksum | cut -d' ' -f1)
  environment=$cache/venv-$(basename "$(dirname "$1")")-$sum
  if [[ ! -e $environment/ready ]]; then
    rm -rf "$environment"
    python3 -m venv "$environment" >&2
    "$environment/bin/pip" install --quiet --disable-pip-version-check -r "$1" >&2 </dev/null
    touch "$environment/ready"
  fi
  echo "$environment/bin/python"
}

# A folder with package.json's dependencies in node_modules; prints it.
node_environment() { # folder with package.json and package-lock.json
  local sum environment
  sum=$(cat "$1/package.json" "$1/package-lock.json" <(node --version) | cksum | cut -d' ' -f1)
  environment=$cache/node-$sum
  if [[ ! -e $environment/ready ]]; then
    rm -rf "$environment"
    mkdir -p "$environment"
    cp "$1/package.json" "$1/package-lock.json" "$environment"
    (cd "$environment" && npm ci --silent --no-audit --no-fund --ignore-scripts >&2 </dev/null)
    touch "$environment/ready"
  fi
  echo "$environment"
}

# Runs the client's checks and compares with tests.allow: what stands there must pass. A check that fails without
# standing there is known and counts as skipped; one that passes without standing there should be added.
judge() { # command...
  local output=$work/output status=0
  timeout --kill-after=10 "${CLIENT_LIMIT_S:-420}" "$@" </dev/null 2>&1 | tee "$output" || status=$?
  ((status != 124 && status != 137)) || echo "FAIL the-script was stopped after ${CLIENT_LIMIT_S:-420} s"
  python3 "$common/verdict.py" "$client/tests.allow" "$output"
}
