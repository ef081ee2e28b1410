#!/usr/bin/env bash
# Installs fusermount3 and libfuse for the tests of mounts by ordinary users and over libfuse, where that needs no
# question: as root, on Debian and its like. Mounts of root need neither. Without them those tests are skipped, and say
# why, so that a failure here is none of `make test`.
set -u

if command -v fusermount3 >/dev/null || [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  exit 0
fi
echo 'installing fuse3 with apt-get, for the tests of mounts ...' >&2
export DEBIAN_FRONTEND=noninteractive
get() { timeout 300 apt-get -qq -y -o DPkg::Lock::Timeout=120 "$@" </dev/null >/dev/null 2>&1; }
get install --no-install-recommends fuse3 || { get update && get install --no-install-recommends fuse3; }
command -v fusermount3 >/dev/null || echo 'fuse3 could not be installed; the tests that need it are skipped' >&2
exit 0
