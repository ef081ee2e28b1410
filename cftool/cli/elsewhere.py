"""What people type who come from rclone, rsync, s5cmd and the aws tools, and what it is called here.

Read only when a command or flag does not exist, so that it costs nobody anything. Each text continues a sentence:
"no command 'copy': …". Names that exist here are never in these tables; a test sees to that.
"""

from collections.abc import Iterable

from cftool.config.suggest import hint

COMMANDS: dict[str, str] = {
    "about": "df REMOTE: shows what is used and free",
    "authorize": "config login NAME logs in; with --no-browser over ssh",
    "backend": "options of a service are set with config create NAME TYPE key=value",
    "bisync": "there is no two-way sync; sync makes one side hold what the other holds",
    "copy": "cp -r SRC DST copies a directory, and deletes nothing",
    "copyto": "cp SRC DST copies to exactly that name",
    "copyurl": "curl URL | cftool put PATH stores what a URL gives",
    "cryptcheck": "nothing is encrypted here; check --download compares the bytes",
    "dedupe": "files of one name show as `name ~id.ext` at Google Drive; rm and mv take each by that name",
    "del": "rm removes a file, rm -r a tree",
    "delete": "rm removes a file, rm -r a tree; with --include only what matches",
    "deletefile": "rm removes a file",
    "genautocomplete": "completion bash|zsh|fish prints the completion",
    "get": "cp REMOTE:PATH FILE downloads",
    "hashsum": "hash TYPE -r PATH prints the lines of md5sum and sha256sum",
    "info": "stat PATH shows all of one entry",
    "listremotes": "ls without an address lists the remotes",
    "lsd": "ls -d lists directories only",
    "lsf": "ls -R lists names, with -0 for programs, with --json everything",
    "lsjson": "ls --json, one line for each entry",
    "lsl": "ls -l, with -R for all below",
    "mb": "a bucket is made by the first write; mkdir s3:BUCKET makes it at once",
    "md5sum": "hash md5 -r PATH prints its lines",
    "move": "mv -r SRC DST moves a directory",
    "moveto": "mv SRC DST moves to exactly that name",
    "ncdu": "du counts, du --plot FILE.svg draws",
    "nfsmount": "mount REMOTE:PATH DIR mounts",
    "obscure": "a secret stands in the configuration as { command = … }, { env = … }, { file = … } or { keyring = … }",
    "pipe": "put PATH stores standard input",
    "presign": "link PATH prints a presigned link",
    "purge": "rm -r removes a tree",
    "rb": "rm -r s3:BUCKET removes a bucket with all in it, rmdir an empty one",
    "rcat": "put PATH stores standard input",
    "rmdirs": "rmdir removes directories that are empty",
    "rsync": "sync SRC DST; cp -r SRC DST deletes nothing",
    "selfupdate": "pip installs new versions",
    "serve": "nothing is served; mount REMOTE:PATH DIR, and serve the directory",
    "settier": "storage_class is an option of the remote, or of an address: s3,storage_class=STANDARD_IA:bucket",
    "sha1sum": "hash sha1 -r PATH prints its lines",
    "sha256sum": "hash sha256 -r PATH prints its lines",
    "size": "du PATH counts bytes and files",
    "unmount": "umount DIR unmounts",
}
CONFIG: dict[str, str] = {
    "add": "config create NAME TYPE key=value defines a remote",
    "delete": "config remove NAME removes a remote",
    "dump": "config show shows all remotes, secrets hidden",
    "edit": "edit the file that config path shows",
    "file": "config path shows where the file is",
    "get": "config show NAME shows a remote",
    "password": "secrets are given to config create as key=-, which asks for them",
    "reconnect": "config login NAME logs in again",
    "redacted": "config show hides secrets always",
    "rm": "config remove NAME removes a remote",
    "set": "config create NAME TYPE key=value, after config remove NAME; or edit the file that config path shows",
    "update": "config create NAME TYPE key=value, after config remove NAME; or edit the file that config path shows",
    "userinfo": "config test NAME logs in and tells what works",
}

_SHOWN = "a terminal shows progress by itself; elsewhere --stats 60s prints lines"
_IN_REMOTE = "an option of the remote, see config create; for one use in the address: NAME,option=value:PATH"
_SECURE = "TLS is always verified; ca_bundle of the remote names the authority to trust"
_OLD_KEPT = "--trash=DIR moves what is replaced or deleted to a dated folder in DST, restore brings it back"
_LATER = "deletions come last, and only where all copies succeeded"
_MODES = "modes and owners are not copied"
_MEMORY = "not needed: memory does not grow with the tree"
_NO_PIECES = "files of this machine are always written whole, under another name first"

FLAGS: dict[str, str] = {
    "--acl": _IN_REMOTE,
    "--acl-public": _IN_REMOTE,
    "--archive": f"directories are copied with all below them and their times; {_MODES}",
    "--ask-password": "a secret in the configuration may be { command = … }",
    "--backup": "--suffix S keeps what is replaced beside it",
    "--backup-dir": _OLD_KEPT,
    "--buffer-size": _MEMORY,
    "--ca-cert": _SECURE,
    "--check-first": _LATER,
    "--client-cert": "client certificates are not supported",
    "--combined": "standard output of check has such lines: + only in A, - only in B, * differs",
    "--compare-dest": "not supported",
    "--contimeout": "requests are retried within one budget of time",
    "--copy-dest": "not supported",
    "--copy-links": "--links follow",
    "--create-empty-src-dirs": "empty directories are always made, where the service has any",
    "--cutoff-mode": "--max-transfer starts nothing that does not fit",
    "--default-permissions": "the kernel checks them wherever others may use the mount",
    "--delete": "sync deletes what SRC lacks, cp -r deletes nothing",
    "--delete-after": _LATER,
    "--delete-before": _LATER,
    "--delete-during": _LATER,
    "--delete-removed": "sync deletes what SRC lacks, cp -r deletes nothing",
    "--daemon": "mount returns once the mount answers; --foreground stays",
    "--dir-cache-time": "--metadata-cache TIME",
    "--dirs-only": "-d lists directories only",
    "--dryrun": "--dry-run",
    "--dump": "-vv tells more",
    "--endpoint-url": _IN_REMOTE,
    "--error-on-no-transfer": "--dry-run ends with 10 where something is to do; --json counts what was copied",
    "--exact-timestamps": "times are compared as exactly as both sides keep them",
    "--exclude-if-present": "not supported; --exclude 'DIR/**' leaves a directory out",
    "--fast-list": "the fewest requests are always used",
    "--files-from-raw": "--files-from F",
    "--fix-case": "not supported",
    "--format": "ls -l shows size, time and name; --json everything",
    "--hard-links": "each name of a file is copied as a file",
    "--head": "--count N",
    "--header": "not supported",
    "--human-readable": "sizes are shown so; ls, du and df have -h",
    "--humanize": "-h",
    "--if-size-differ": "--size-only",
    "--if-source-newer": "--update",
    "--ignore-checksum": "--verify none",
    "--ignore-errors": "nothing is deleted after an error; --no-delete only copies",
    "--ignore-size": "a file of another size is always another file",
    "--immutable": "--ignore-existing leaves all that is there as it is; check tells what differs",
    "--inplace": _NO_PIECES,
    "--interactive": "--dry-run shows what would be done; sync --plan FILE writes it down, for apply",
    "--itemize-changes": "-v names each file; --json tells each action",
    "--link-dest": "--trash keeps old versions",
    "--log-level": "-q, -v and -vv, also for --log-file",
    "--low-level-retries": "requests are retried within one budget of time; --retries N is for whole files",
    "--max-backlog": _MEMORY,
    "--max-delete-size": "--max-delete N or P%",
    "--max-depth": "--exclude '/*/**' leaves out what is deeper than one level, '/*/*/**' than two",
    "--metadata": "times are kept; other metadata is not copied",
    "--missing-on-dst": "a line of check's standard output that begins with +",
    "--missing-on-src": "a line of check's standard output that begins with -",
    "--modify-window": "times are compared within the precision that both sides keep",
    "--multi-thread-cutoff": "large files are always sent in parallel parts",
    "--multi-thread-streams": "--transfers N counts files and parts",
    "--no-check-certificate": _SECURE,
    "--no-check-dest": "--ignore-times copies every file",
    "--no-clobber": "--ignore-existing",
    "--no-progress": "-q shows errors only; where standard error is no terminal there is no progress",
    "--no-sign-request": "anonymous of the remote, or of an address: s3,anonymous:bucket/key",
    "--no-traverse": "--files-from F looks at the named files only",
    "--no-verify-ssl": _SECURE,
    "--no-update-modtime": "not supported",
    "--numeric-ids": _MODES,
    "--numworkers": "--transfers N",
    "--one-file-system": "not supported; --exclude leaves directories out",
    "--only-show-errors": "-q",
    "--order-by": "files go in the order of their names",
    "--owner": _MODES,
    "--partial": "large files are always taken up again by the next run",
    "--password-command": "a secret in the configuration may be { command = … }",
    "--perms": _MODES,
    "--poll-interval": "--metadata-cache TIME",
    "--preserve-metadata": "times are kept; other metadata is not copied",
    "--profile": _IN_REMOTE,
    "--progress": _SHOWN,
    "--prune-empty-dirs": "not supported",
    "--rc": "not supported; --json and --metrics-file tell programs what is done",
    "--recurse": "--recursive",
    "--refresh-times": "times are set where they differ, without sending the file again, where the service can",
    "--region": _IN_REMOTE,
    "--remove-source-files": "mv",
    "--retries-sleep": "the pause between attempts grows by itself",
    "--rmdirs": "rm -r removes directories too",
    "--server-side-across-configs": "it is done where both are one account",
    "--skip-existing": "--ignore-existing",
    "--skip-links": "they are skipped, counted and named unless --links says otherwise",
    "--sparse": "holes of sparse files are kept",
    "--sse": _IN_REMOTE,
    "--stats-one-line": "--stats T prints one line each time",
    "--storage-class": _IN_REMOTE,
    "--streaming-upload-cutoff": _MEMORY,
    "--suffix-keep-extension": "--suffix S comes at the end",
    "--syslog": "--log-file FILE, or 2> >(logger -t cftool)",
    "--tail": "--offset -N",
    "--timeout": "requests are retried within one budget of time; --max-duration T is for the run",
    "--times": "times are always kept",
    "--tpslimit": "requests are slowed down as the service asks; --transfers N and --checkers N are limits",
    "--track-renames-strategy": "--track-renames finds out by itself what is sure",
    "--use-json-log": "--log-file F --log-format json; --json on standard output",
    "--use-server-modtime": "not needed: the record of the last run tells what changed",
    "--user-agent": "not supported",
    "--vfs-cache-max-size": "--cache-size SIZE",
    "--vfs-cache-mode": "--cache-mode full, read or off",
    "--vfs-write-back": "--cache TIME",
    "--whole-file": _NO_PIECES,
    "-H": "each name of a file is copied as a file; ls, du and df show sizes that are easy to read with -h",
    "-I": "--ignore-times",
    "-L": "--links follow",
    "-M": "times are kept; other metadata is not copied",
    "-P": _SHOWN,
    "-W": _NO_PIECES,
    "-X": "extended attributes are not copied",
    "-a": f"directories are copied with all below them and their times; {_MODES}",
    "-b": "--suffix S keeps what is replaced beside it",
    "-i": "-v names each file; --dry-run shows what would be done",
    "-p": _MODES,
    "-t": "times are always kept",
    "-x": "not supported; --exclude leaves directories out",
    "-z": "nothing is compressed",
}
_OF_A_SERVICE = ("--s3-", "--drive-", "--dropbox-", "--webdav-", "--gcs-", "--sugarsync-", "--local-", "--sftp-")
_OF_A_MOUNT = ("--vfs-",)


def command(word: str, table: Iterable[str]) -> str:
    """The sentence that refuses a command that is not in `table`, one of cftool's or of `cftool config`."""
    names = list(table)
    known = CONFIG if "import-rclone" in names else COMMANDS if "sync" in names else {}
    if word in known:
        return f"no command {word!r}: {known[word]}"
    return f"no command {word!r}{hint(word, names)}"


def flag(name: str) -> str | None:
    """What the flag of another tool is called here, or why there is none; None where nothing is known of it."""
    if name in FLAGS:
        return FLAGS[name]
    if name.startswith(_OF_A_SERVICE):
        return _IN_REMOTE
    if name.startswith(_OF_A_MOUNT):
        return "cftool mount --help shows the flags of mounts"
    return None
