#!/bin/bash
# Builds the Debian package with the broker, the host tool, their units and a default configuration.
#
#   tuning/packaging/package.sh           builds; prints the path of the package last
#   tuning/packaging/package.sh --try     also installs it here, verifies the units, runs the broker from it, and purges
#                                         it again: needs root, and a machine without a broker of its own
#
# Needs cargo-deb (`cargo install cargo-deb --locked`) and dpkg-dev. $CARGO is the cargo to call.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
cargo=${CARGO:-cargo}
listen=127.0.0.1:19092

"$cargo" deb --version >/dev/null 2>&1 || { echo "cargo-deb is missing: cargo install cargo-deb --locked" >&2; exit 1; }
"$cargo" build --release --locked -p monedula-broker -p monedula-tune >&2
package=$("$cargo" deb --package monedula-broker --no-build --quiet)
[[ ${1:-} == --try ]] || { echo "$package"; exit 0; }

[[ $(id -u) == 0 ]] || { echo "--try installs the package: run it as root" >&2; exit 1; }
! dpkg -s monedula >/dev/null 2>&1 || { echo "monedula is installed here already: purge it first" >&2; exit 1; }
work=$(mktemp -d)
broker=
finish() {
  local status=$?
  trap - EXIT
  [[ -z $broker ]] || kill "$broker" 2>/dev/null || true
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
systemd-analyze verify /lib/systemd/system/monedula.service /lib/systemd/system/monedula-tune.service

step "the host tool"
monedula-tune --version
status=0
monedula-tune check --data /var/lib >"$work/check" || status=$?
tail -2 "$work/check"
((status == 0 || status == 1 || status == 3))

step "the broker, as its user, with its configuration"
install -d -o monedula -g monedula /var/lib/monedula "$work/run"
chmod 755 "$work"
mkfifo "$work/ready"
# As the unit does, but for the address, which may be taken here.
runuser -u monedula -- /usr/bin/monedula start --config /etc/monedula/monedula.properties \
  --listen "$listen" --core-listen none --log warn >"$work/ready" &
broker=$!
read -r ready <"$work/ready"
echo "$ready"
[[ $ready == monedula*"ready on $listen"* ]]
kill "$broker"
wait "$broker"
broker=
rm -rf /var/lib/monedula/data

step purge
dpkg --purge monedula
for left in /usr/bin/monedula /etc/monedula /var/lib/monedula /lib/systemd/system/monedula.service; do
  [[ ! -e $left ]] || { echo "$left is left behind" >&2; exit 1; }
done
echo "$package"
