# Sourced by the scripts: makes and reuses virtual environments in the repository.

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
cd "$ROOT"
# Settings of the caller that would send packages elsewhere.
unset PIP_USER PIP_TARGET PIP_PREFIX PYTHONPATH PYTHONHOME

fail() { # fail MESSAGE HINT
  printf 'error: %s\n\nhint: %s\n' "$1" "$2" >&2
  exit 2
}

is_recent() { # is_recent PYTHON: 3.11 or later, and it runs
  "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
  local name
  for name in ${OVERNIGHT_PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11 python; do
    if is_recent "$name"; then
      command -v "$name"
      return
    fi
  done
  fail "no Python 3.11 or later found" "install one, or name it: OVERNIGHT_PYTHON=/path/to/python3"
}

make_environment() { # make_environment FOLDER
  local python
  if is_recent "$1/bin/python"; then
    return
  fi
  python=$(find_python)
  "$python" -c 'import ensurepip, venv' 2>/dev/null ||
    fail "$python cannot make virtual environments" \
      "install its venv package, on Debian and Ubuntu: apt-get install python3-venv"
  rm -rf "$1"
  "$python" -m venv "$1"
}

digest() { # digest PYTHON FILE…
  "$1" -c '
import hashlib, pathlib, sys
print(hashlib.sha256(b"".join(pathlib.Path(p).read_bytes() for p in sys.argv[1:])).hexdigest())
' "${@:2}"
}

is_installed() { # is_installed FOLDER LOCK [FILE…]
  is_recent "$1/bin/python" && [[ -f $1/.locked-$2 ]] &&
    [[ $(<"$1/.locked-$2") == "$(digest "$1/bin/python" "requirements/$2.txt" "${@:3}")" ]]
}

install() { # install FOLDER LOCK
  make_environment "$1"
  echo "Installing requirements/$2.txt into $1 …" >&2
  rm -f "$1"/.locked-*
  pip_install "$1" --require-hashes -r "requirements/$2.txt"
}

pip_install() { # pip_install FOLDER ARGUMENT…
  "$1/bin/python" -m pip install -qq --disable-pip-version-check "${@:2}"
}

stamp() { # stamp FOLDER LOCK [FILE…]: what is_installed looks for
  digest "$1/bin/python" "requirements/$2.txt" "${@:3}" >"$1/.locked-$2"
}

find_chromium() {
  local name
  for name in ${CHROMIUM:-} chromium chromium-browser google-chrome; do
    if command -v "$name"; then
      return
    fi
  done
  return 1
}

need_chromium() { # gives the path of a Chromium; installs one where that is ours to do
  if ! find_chromium; then
    if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
      fail "no Chromium found, and the tests of the pages drive one" \
        "install it (Debian, Ubuntu: apt-get install chromium), or name it: CHROMIUM=/path"
    fi
    echo "Installing chromium …" >&2
    apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends chromium >&2
    find_chromium || fail "apt-get installed no chromium" "name one: CHROMIUM=/path"
  fi
}
