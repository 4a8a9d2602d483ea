# shellcheck shell=bash
# What the scripts here share; sourced, never run. Everything must work in bash 3.2, a Mac's own.

# shellcheck disable=SC2034 # for those who source this
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# rustup puts cargo here, and a shell that was open before does not know it.
PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
export PATH

say() { printf '%s: %s\n' "${0##*/}" "$*"; }

# One clear line, then out.
die() {
  printf '%s: error: %s\n' "${0##*/}" "$*" >&2
  exit 1
}
