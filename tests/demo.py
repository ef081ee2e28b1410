"""`make demo`: cftool against an S3 server on this machine, in a folder that is removed at the end.

Every command is shown as one would type it, with its output and its exit code; where a code is not the expected one,
the demonstration fails.
"""

import os
import shlex
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

from tests.servers import BIN, rclone_s3

FILES = {
    "notes/today.txt": b"Buy milk.\n",
    "notes/with blank and ümläut.txt": b"Any name will do.\n",
    "photos/2026/beach.jpg": bytes(range(256)) * 4096,
    "photos/2026/empty.jpg": b"",
}


class Demo:
    """A terminal session that explains itself."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        self.folder = folder
        self.env = env

    def say(self, text: str) -> None:
        """A remark between two commands."""
        print("\n" + textwrap.fill(text, 100, initial_indent="# ", subsequent_indent="# "), flush=True)

    def run(self, command: str, *, code: int = 0) -> None:
        """Show a command, run it, show its exit code where it is not 0."""
        print(f"$ {command}", flush=True)
        finished = subprocess.run(shlex.split(command), cwd=self.folder, env=self.env, check=False)
        if finished.returncode or code:
            print(f"[exit {finished.returncode}]", flush=True)
        if finished.returncode != code:
            sys.exit(f"demo: exit {code} was expected")


def main() -> None:
    """The whole demonstration."""
    with tempfile.TemporaryDirectory(prefix="cftool-demo-") as scratch:
        root = Path(scratch)
        for name in ("served", "home", "work/photos-and-notes", "work/empty"):
            (root / name).mkdir(parents=True)
        for name, data in FILES.items():
            path = root / "work/photos-and-notes" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        with rclone_s3(root / "served") as server:
            env = {
                **{name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "CFTOOL_"))},
                "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
                "HOME": str(root / "home"),
                "XDG_CONFIG_HOME": str(root / "home/config"),
                "XDG_STATE_HOME": str(root / "home/state"),
            }
            _session(Demo(root / "work", env), server.url, server.access_key, server.secret_key)
    print("\n# Done; server, files and settings of this demonstration are removed.", flush=True)


def _session(demo: Demo, url: str, access_key: str, secret_key: str) -> None:
    demo.say(f"An S3 server of this machine answers on {url}. First it gets a name; the secret comes from a variable.")
    demo.env["LAB_SECRET"] = secret_key
    demo.run(
        f"cftool config create lab s3 endpoint_url={url} access_key_id={access_key} "
        "secret_access_key='{ env = \"LAB_SECRET\" }'"
    )
    demo.run("cftool config test lab")

    demo.say("Up: the bucket is made on the way.")
    demo.run("cftool sync photos-and-notes lab:backup/today")
    demo.run("cftool ls -R -l lab:backup/today")

    demo.say("Again: nothing to do, and a listing is all that it costs.")
    demo.run("cftool sync photos-and-notes lab:backup/today")

    demo.say("Down, to another directory, and a comparison byte for byte.")
    demo.run("cftool sync lab:backup/today restored")
    demo.run("cftool check --download photos-and-notes lab:backup/today")
    demo.run("diff -r photos-and-notes restored")

    demo.say(
        "A disk that is not mounted looks like an empty directory. A sync from it would empty the backup: refused."
    )
    demo.run("cftool sync empty lab:backup/today", code=7)
    demo.run("cftool check photos-and-notes lab:backup/today")

    demo.say("What a sync would do, without doing it: exit 10 says that there is something to do.")
    (demo.folder / "photos-and-notes/notes/today.txt").unlink()
    demo.run("cftool sync --dry-run --json photos-and-notes lab:backup/today", code=10)


if __name__ == "__main__":
    main()
