#!/usr/bin/env bash
# Installs what some tests need and Debian has, where that needs no question: as root, on Debian and its like. Apache with
# mod_dav for WebDAV (the package has no service; tests start a server of their own), mandoc for the manual, fuse3 for
# mounts of ordinary users and over libfuse, jq for the manual's examples. Where they cannot be had those tests are
# skipped, and say why, so that a failure here is none of `make test`.
set -u

missing=()
[ -e /usr/lib/apache2/modules/mod_dav_fs.so ] || missing+=(apache2-bin)
command -v mandoc >/dev/null || missing+=(mandoc)
command -v jq >/dev/null || missing+=(jq)
command -v fusermount3 >/dev/null || missing+=(fuse3)
if [ ${#missing[@]} = 0 ] || [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  exit 0
fi
echo "installing ${missing[*]} with apt-get, for some of the tests ..." >&2
export DEBIAN_FRONTEND=noninteractive
get() { timeout 300 apt-get -qq -y -o DPkg::Lock::Timeout=120 "$@" </dev/null >/dev/null 2>&1; }
get install --no-install-recommends "${missing[@]}" || { get update && get install --no-install-recommends "${missing[@]}"; } ||
  echo "${missing[*]} could not be installed; the tests that need them are skipped" >&2
exit 0
