#!/bin/bash
# Builds the Debian package with the broker, the host tool, their units and a default configuration.
#
#   tuning/packaging/package.sh               builds; prints the path of the package last
#   tuning/packaging/package.sh --try [FILE]  builds, or takes that package; installs it here, verifies the units, runs the
#                                             broker from it, and purges it: needs root, and a machine without a broker
#
# Needs cargo-deb (`cargo install cargo-deb --locked`) and dpkg-dev. $CARGO is the cargo to compile with.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
cargo=${CARGO:-cargo}

build() {
  cargo deb --version >/dev/null 2>&1 || { echo "cargo-deb is missing: cargo install cargo-deb --locked" >&2; return 1; }
  "$cargo" build --release --locked -p monedula-broker -p monedula-tune >&2
  cargo deb --package monedula-broker --no-build --quiet
}

package=${2:-}
[[ -n $package ]] || package=$(build)
[[ ${1:-} == --try ]] || { echo "$package"; exit 0; }

[[ $(id -u) == 0 ]] || { echo "--try installs the package: run it as root" >&2; exit 1; }
if dpkg -s monedula >/dev/null 2>&1 || [[ -e /var/lib/monedula ]]; then
  echo "monedula, or data of it, is here already: purge it, and move /var/lib/monedula away" >&2
  exit 1
fi
work=$(mktemp -d)
broker=
finish() {
  local status=$?
  trap - EXIT
  [[ -z $broker ]] || kill "$broker" 2>/dev/null || true
  # Made by the broker above: the directory was not there before.
  rm -rf /var/lib/monedula/data
  ! dpkg -s monedula >/dev/null 2>&1 || dpkg --purge monedula
  rm -rf "$work"
  exit "$status"
}
trap finish EXIT

step() { echo "== $*"; }

step install
dpkg -i "$package"
dpkg -L monedula | grep -v '/\.$'

step "verify the units"
systemd-analyze verify /usr/lib/systemd/system/monedula.service /usr/lib/systemd/system/monedula-tune.service

step "the host tool"
monedula-tune --version
status=0
monedula-tune check --data /var/lib >"$work/check" || status=$?
tail -2 "$work/check"
((status == 0 || status == 1 || status == 3))

step "the broker, as its user, with its configuration"
mkfifo "$work/ready"
# As the unit does, but for the address, which may be taken here.
setpriv --reuid monedula --regid monedula --init-groups /usr/bin/monedula start --config /etc/monedula/monedula.properties \
  --listen 127.0.0.1:0 --core-listen none --log warn >"$work/ready" &
broker=$!
read -r ready <"$work/ready"
echo "$ready"
[[ $ready == monedula*"ready on 127.0.0.1:"* ]]
kill "$broker"
wait "$broker"
broker=
rm -rf /var/lib/monedula/data

step purge
dpkg --purge monedula
for left in /usr/bin/monedula /etc/monedula /var/lib/monedula /usr/lib/systemd/system/monedula.service; do
  [[ ! -e $left ]] || { echo "$left is left behind" >&2; exit 1; }
done
echo "$package"
