"""What the manual says beyond the program's own texts: descriptions, examples, limits. `manual` makes pages of it.

In a text, `code` is set bold and _word_ slanted; paragraphs are separated by an empty line. Each example is a line
of shell, run by tests/house/test_manual.py in the order of the pages, in one directory, where DEMO is a configured
S3 remote; one that ends with `# exit N` must end so.
"""

OVERVIEW = """\
cftool copies, syncs, compares and lists files between local disk and cloud storage. It is built for cron jobs
and backups that nobody watches: nothing is deleted on a doubt, and exit code 0 means that everything is there
and verified.

Each command has a page of its own, such as `cftool-sync`(1); each provider has one that begins with `cftool-`,
in section 7, such as `cftool-s3`(7). `cftool COMMAND --help` shows the flags."""

ADDRESSES = (
    ("name:path", "the remote _name_ of the configuration; _path_ may begin with / or not"),
    (
        "s3:bucket/key, gs:bucket/key, dropbox:path, gdrive:path",
        "a provider's own name works as a remote without any configuration; its settings come from the environment",
    ),
    (
        'name,option=value,option2="quoted: value":path',
        "the same remote with options overridden for this use; a bare option means true",
    ),
    ("./a:b, /abs/a:b, dir/a:b", "a local path: a colon counts only before the first slash"),
    ("-", "standard input or output, where a command takes one file"),
)
ADDRESSES_MORE = """\
`s3:` and `gs:` alone list the buckets. A bucket that does not exist is made on the first write, unless
`create_bucket` is false. Sizes are written 10M or 1.5 GiB, durations 90, 1h30m or 7d."""

CONFIGURATION = """\
The file is that of `--config`, else of `$CFTOOL_CONFIG`, else `$XDG_CONFIG_HOME/cftool/config.toml`. It is
TOML, a table `[remotes.NAME]` for each remote, with `type` and the options of that provider. `root` confines a
remote to a folder. It is written by `cftool config`, with mode 0600; a file that others can read is refused
where it holds a secret.

A secret is a text, or better a reference: `{ command = "pass show s3" }`, `{ env = "NAME" }`, `{ file = "PATH"
}` or `{ keyring = "SERVICE/USER" }`. Tokens of logins are kept in the state directory, never in this file.

A setting is taken from the address, else from a flag, else from `CFTOOL_REMOTE_OPTION` in the environment, else
from the file, else from the service's own variables and files, else it has its default."""

OUTPUT = """\
Standard output carries data only; messages, progress and summaries go to standard error. With `--json` every
command writes JSON Lines: each has "v": 1 and an "event"; the last of a run is "summary", with "exit". On a
terminal names with control characters are escaped; in `--json` and with `-0` they are exact. A run that is no
terminal's is silent until its end, unless `--stats` asks for more. The first Ctrl-C begins nothing new, cleans
up and says what was done; the second stops at once."""

SAFETY = """\
A file under its final name is whole, old or new: it is written under a temporary name, verified, synced and
renamed, or published at completion.

Nothing at all is deleted in a run where a listing failed or did not prove itself complete; where a transfer
failed; where the source is empty or missing and the destination is not (`--allow-empty-source`); where the
source is another one than last time (`--force-delete`); or where more would be deleted than `--max-delete`
allows: by default more than half of the destination's files and more than 100 of them. Copies are done all the
same.

One run works on a destination at a time; a second one exits 9, or waits with `--wait-lock`. The lock is the
kernel's, so a killed run leaves none. The next run removes what a killed one left, and goes on with large files
where it stopped."""

EXIT_CODES = (
    (0, "done: every selected entry is there and verified"),
    (1, "finished, but some entries failed (each is named), or an error of no other class"),
    (2, "usage or configuration error"),
    (3, "a source or path was not found"),
    (4, "not allowed: login expired, wrong credentials, permission denied"),
    (5, "temporary failure that outlasted the retries; trying later may help"),
    (6, "check found differences"),
    (7, "refused for safety; nothing was deleted"),
    (8, "stopped at --max-transfer or --max-duration"),
    (9, "another run holds the lock"),
    (10, "--dry-run: there is work to do"),
    (130, "interrupted"),
)

ENVIRONMENT = (
    ("CFTOOL_CONFIG", "the configuration file"),
    ("CFTOOL_REMOTE_OPTION", "an option of a remote, such as CFTOOL_WORK_ENDPOINT_URL; with _TYPE the remote itself"),
    ("CFTOOL_TRANSPORT", "curl or requests: what sends requests; by default curl where it is installed"),
    ("CFTOOL_TRACEBACK", "where set, an unexpected error is told with its traceback"),
    ("HTTPS_PROXY, NO_PROXY", "the proxy, and for whom not"),
    ("SSL_CERT_FILE, REQUESTS_CA_BUNDLE", "the authorities to trust"),
    ("NO_COLOR", "no colours"),
    ("XDG_CONFIG_HOME, XDG_STATE_HOME", "where the files below are"),
)
FILES = (
    ("$XDG_CONFIG_HOME/cftool/config.toml", "the remotes; by default in ~/.config"),
    (
        "$XDG_STATE_HOME/cftool",
        (
            "records of what was equal, known metadata, sessions, locks, tokens, and the caches of mounts, which hold"
            " what is not uploaded yet; by default in ~/.local/state"
        ),
    ),
)

# By command: what its help does not say, and examples. The examples of one page build on those before it.
MOUNT = """\
Needs FUSE: `fusermount3`, or root.

What services have no place for is kept in the cache's directory, on this machine alone: modes, owners, times that
were set of directories, FIFOs, sockets and device files. Another machine, or another cache, shows default modes and
no special files. Symbolic links are kept at the remote as rclone keeps them (`name.rclonelink`), times of files
where the service keeps times, and empty directories where it keeps those.

There are no hard links (EPERM). A path that is longer than the service allows is refused at once (ENAMETOOLONG): of
a bucket's name and a key of 1,024 bytes with S3. Over S3 these are the only reasons for which tests of pjdfstest
fail: 203 of its 224 files for Linux pass; `chmod/03`, `chown/03`, `ftruncate/03`, `mkdir/03`, `mkfifo/03`,
`mknod/03`, `open/03`, `rename/02`, `rmdir/03`, `symlink/03`, `truncate/03` and `unlink/03` want paths of 4,095
bytes, and `link/00`, `link/02`, `link/03`, `link/06`, `link/07`, `link/09`, `rename/00`, `rename/23` and
`unlink/00` want hard links.

What was closed or synced is on the disk and survives the end of the process; a file that was neither is not
published. After a change by others in between both are kept, ours as `name (conflict HOST DATE)`. What is not
uploaded yet, and why, `cftool cache status` tells; a file's own state is its attribute `user.cftool.state`.
A cache has one mount at a time (exit 9); with `--cache-id` there may be more of a remote, each with a cache by itself:
what another holds that is not uploaded is not shown, and told when the mount is made.

Programs are told ENOSPC where the cache's disk or the account is full, EACCES where the login or the permission is
missing, ETIMEDOUT where the remote cannot be reached or asks to come back later, EFBIG above the service's largest
file, EROFS on a mount for reading, and EIO where an answer was wrong. While the remote is away, what is in the cache
is read and written all the same. A login that is not accepted is told when the mount is made.

For `mount`(8) and /etc/fstab there is the helper `mount.cftool`, once it is where `mount` looks for it:
`ln -s "$(command -v mount.cftool)" /sbin/`. Then a line such as
`work:data /mnt/data cftool noauto,_netdev,allow_other,config=/etc/cftool.toml 0 0` mounts; its options are the flags
above, and _ro_ for `--read-only`. With `--uid`, `--gid` and `--umask` the files are of the user for whom the mount
is, and `--allow-other` lets him in. As a service of systemd: `Type=notify`,
`ExecStart=cftool mount --foreground work:data /mnt/data`, and a `TimeoutStopSec` that is longer than `--drain`.

Where the mount is in use when it is told to end, half of `--drain` is for programs to close their files. What one has
neither closed nor synced by then is kept beside the file, which stays as it was, as _NAME (unfinished HOST DATE).EXT_.

Mounted by root, on Linux 6.9 and newer, the kernel reads whole cached files by itself, and writes new ones (of programs
that do not read them as well). What it writes is not seen before the file is closed or synced, and so not stopped at
`--hard-cache-size-limit`: it is let do so only while a quarter of that limit, and 1 GiB at least, is free, below the
limit and on the disk. Who has begun then may write past the limit until the file is closed, or the disk is full; others
wait, or get ENOSPC, as ever. `--no-passthrough` has all of it pass through the mount."""
DESCRIPTIONS = {
    "ls": "Without an address the configured remotes are listed. Paths of `-R` are relative to the address.",
    "cp": (
        "A destination that ends with / , or several sources: into that directory. A file and a directory that is"
        " there: into it. Otherwise the destination is the exact result: `cp -r a r:b` makes _b_ hold what _a_"
        " holds, as often as it is run. Nothing is deleted at the destination."
    ),
    "mv": "As `cftool-cp`(1); a source goes only when its copy is proven.",
    "sync": (
        "Files are compared by size, by the record of the last run, by time where listings carry it, by hash, and only"
        " then by a request for that file. What held deletions back is said, with exit code 7 where nothing else"
        " failed. Filters are rclone's patterns, in the order of the command line."
    ),
    "apply": "What the plan relies on is looked at again first; what changed since is left alone and told.",
    "check": "One line a difference: + only in A, - only in B, * differs, ! error. Exit code 6 where there are some.",
    "cleanup": "Other machines' leftovers are only looked at with `--older-than`.",
    "rm": "Directories need `-r`.",
    "put": "Of any length: it is sent as it comes.",
    "hash": "Lines are those of `sha256sum`(1). What the service knows is not downloaded.",
    "cache": (
        'Besides the files of mounts, entries and listings of a remote may be cached: `metadata_cache = "10m"` in the'
        " table `[remotes.NAME.stack]` lets `ls`, `tree`, `du`, `stat` and completion answer without a request, from"
        " what any run heard in the last ten minutes (0: never, which is the default; mounts: one minute). What is"
        " changed"
        " with cftool on this machine shows at once; what others change, after that time. Where the service has a feed"
        " of changes (Dropbox, Google Drive) one request then confirms all that is known. Commands that copy, compare"
        " or remove always ask the remote."
    ),
    "mount": MOUNT,
    "config": (
        "`cftool config login NAME` opens the browser and waits for its answer on this machine; with `--no-browser` it"
        " shows an address to open anywhere, and takes the code that is shown there."
    ),
    "restore": "Times are those at which a run moved something to the trash; `cftool trash list` shows them.",
}
EXAMPLES = {
    "ls": ("cftool ls DEMO:", "cftool ls -l -R papers", "cftool ls --json papers"),
    "cp": ("cftool cp -r papers DEMO:backup/copied", "cftool cp papers/list.txt DEMO:backup/new/"),
    "mv": ("cftool mv DEMO:backup/new/list.txt DEMO:backup/new/moved.txt",),
    "sync": (
        "cftool sync --dry-run papers DEMO:backup/papers    # exit 10",
        "cftool sync papers DEMO:backup/papers",
        "cftool sync --exclude '*.tmp' --bwlimit 10M papers DEMO:backup/papers",
        "cftool sync --plan plan.json papers DEMO:backup/planned    # exit 10",
    ),
    "apply": ("cftool apply plan.json",),
    "check": ("cftool check papers DEMO:backup/papers", "cftool check --download papers DEMO:backup/papers"),
    "rm": ("cftool rm -r DEMO:backup/copied", "cftool rm -f DEMO:backup/nothing"),
    "mkdir": ("cftool mkdir made/below",),
    "rmdir": ("cftool rmdir made/below",),
    "touch": ("cftool touch made/stamp",),
    "cat": ("cftool cat papers/list.txt", "cftool cat --offset 1 --count 2 DEMO:backup/papers/list.txt"),
    "put": ("tar c papers | cftool put DEMO:backup/papers.tar",),
    "stat": ("cftool stat DEMO:backup/papers/list.txt",),
    "du": ("cftool du -h DEMO:backup", "cftool du --plot du.svg papers"),
    "df": ("cftool df .",),
    "tree": ("cftool tree papers",),
    "hash": (
        "cftool hash sha256 papers/list.txt > sums",
        "cftool hash sha256 --check sums",
        "cftool hash md5 DEMO:backup/papers/list.txt",
    ),
    "link": ("cftool link DEMO:backup/papers/list.txt",),
    "cleanup": ("cftool cleanup DEMO:",),
    "trash list": (
        "echo Tea > papers/list.txt && cftool sync --trash papers DEMO:backup/papers",
        "cftool trash list DEMO:backup/papers",
    ),
    "trash empty": ("cftool trash empty --older-than 30d DEMO:backup/papers",),
    "restore": ("cftool restore --force DEMO:backup/papers/list.txt",),
    "mount": (
        "mkdir mounted && cftool mount DEMO:backup mounted",
        "ls -l mounted/papers && cp papers/list.txt mounted/copy.txt",
    ),
    "umount": ("cftool umount mounted",),
    "cache status": ("cftool cache status DEMO:",),
    "cache flush": ("cftool cache flush DEMO:",),
    "cache fsck": ("cftool cache fsck DEMO:",),
    "cache clear": ("cftool cache clear DEMO:",),
    "config create": ("cftool config create lab memory",),
    "config list": ("cftool config list",),
    "config show": ("cftool config show lab",),
    "config test": ("cftool config test DEMO",),
    "config import-rclone": (
        "printf '[nas]\\ntype = webdav\\nurl = https://nas.example.org/dav\\n' > rclone.conf",
        "cftool config import-rclone rclone.conf",
    ),
    "config path": ("cftool config path",),
    "config remove": ("cftool config remove lab",),
    "completion": ("cftool completion bash > cftool.bash",),
    "version": ("cftool version", "cftool version --json"),
    "help": ("cftool help sync",),
}
