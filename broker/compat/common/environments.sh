# Environments of Python and Node with a client's requirements, in a cache outside the tree; to be sourced.
cache=${XDG_CACHE_HOME:-$HOME/.cache}/monedula-compat
mkdir -p "$cache"

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
