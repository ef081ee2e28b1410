#!/usr/bin/env bash
# Prints a new directory for what the tests write: in memory where there is plenty of it, since they sync thousands of
# files, and wait for a virtual disk as long as they work. Power cuts are played by the tests themselves, not by a disk.
set -euo pipefail

GIB=$((1024 * 1024)) # in KiB
available() { awk '$1 == "MemAvailable:" { print $2 }' /proc/meminfo; }
free() { df --output=avail -k "$1" | tail -n 1; }

place=${TMPDIR:-/tmp}
if [ -w /dev/shm ] && [ "$(free /dev/shm)" -ge $((4 * GIB)) ] && [ "$(available)" -ge $((8 * GIB)) ]; then
  place=/dev/shm
fi
scratch=$(mktemp -d "$place/cftool-test-XXXXXX")
chmod 711 "$scratch" # another user of a test gets to what is his
echo "$scratch"
