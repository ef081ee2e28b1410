#!/usr/bin/env bash
# Installs Apache with mod_dav for the tests of WebDAV, where that needs no question: as root, on Debian and its like.
# The package has no service; tests start a server of their own. Where it cannot be had those tests are skipped, and
# say why, so that a failure here is none of `make test`.
set -u

modules=/usr/lib/apache2/modules/mod_dav_fs.so
if [ -e "$modules" ] || [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  exit 0
fi
echo 'installing apache2-bin with apt-get, for the tests of WebDAV ...' >&2
export DEBIAN_FRONTEND=noninteractive
get() { timeout 300 apt-get -qq -y -o DPkg::Lock::Timeout=120 "$@" </dev/null >/dev/null 2>&1; }
get install --no-install-recommends apache2-bin || { get update && get install --no-install-recommends apache2-bin; }
[ -e "$modules" ] || echo 'apache2-bin could not be installed; the tests that need it are skipped' >&2
exit 0
