#!/usr/bin/env bash
# Makes the virtual environment $VENV with $PYTHON, or with the newest interpreter of 3.11 or later that is found.
# Debian and Ubuntu split `venv` off Python: as root it is installed, else the command to run is printed.
set -euo pipefail

fits() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

if [ -n "${PYTHON:-}" ]; then
  fits "$PYTHON" || { echo "PYTHON=$PYTHON is no Python 3.11 or newer" >&2; exit 2; }
else
  for name in python3 python3.14 python3.13 python3.12 python3.11 python; do
    if command -v "$name" >/dev/null && fits "$name"; then PYTHON=$name; break; fi
  done
fi

if [ -z "${PYTHON:-}" ]; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo 'no Python 3.11 or newer: installing python3 and python3-venv with apt-get ...' >&2
    apt-get update -qq && apt-get install -qq -y python3 python3-venv >/dev/null
    PYTHON=python3
    fits "$PYTHON" || { echo 'this system has no Python 3.11 or newer; name one: make PYTHON=/path/to/python3' >&2; exit 2; }
  else
    echo 'no Python 3.11 or newer was found; install one, or name it: make PYTHON=/path/to/python3' >&2
    exit 2
  fi
fi

make_it() { "$PYTHON" -m venv "$VENV" >/dev/null 2>&1; }

if ! make_it; then
  rm -rf "$VENV" # a half-made one would look finished
  version=$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "the venv module is incomplete: installing python$version-venv with apt-get ..." >&2
    apt-get update -qq
    apt-get install -qq -y "python$version-venv" >/dev/null || apt-get install -qq -y python3-venv >/dev/null
    "$PYTHON" -m venv "$VENV"
  else
    echo "\"$PYTHON -m venv $VENV\" failed; on Debian and Ubuntu: sudo apt-get install python3-venv" >&2
    exit 2
  fi
fi
