"""Mounts of services with names, ids and change feeds of their own: Dropbox and Google Drive."""

import os

import pytest

from tests import trees
from tests.command import Cftool
from tests.mount import services
from tests.mount.mounted import missing_fuse, mounted
from tests.mount.services import contents, until

pytestmark = [pytest.mark.real, pytest.mark.skipif(missing_fuse() is not None, reason=str(missing_fuse()))]
FLAGS = ("--cache", "0", "--metadata-cache", "1h")


def work(place):
    """Files and directories made, read, renamed and removed; what is there then."""
    (place / "d").mkdir()
    for name in ("one", "two", "three"):
        (place / "d" / name).write_bytes(trees.content(name, 20_000))
    assert (place / "d" / "one").read_bytes() == trees.content("one", 20_000)
    (place / "d" / "two").rename(place / "moved")
    (place / "d" / "three").unlink()
    (place / "d").rename(place / "e")
    with (place / "moved").open("ab") as file:
        file.write(b"more")
    return {"e/one": trees.content("one", 20_000), "moved": trees.content("two", 20_000) + b"more"}


def test_dropbox(tmp_path):
    with services.dropbox() as (fake, env):
        fake.put("top/Known", b"known")
        env = Cftool(tmp_path / "home", env).environment()
        with mounted("box:top", tmp_path / "mnt", env, *FLAGS) as mount:
            place = mount.place
            assert contents(place) == {"Known": b"known"}
            (place / "KNOWN").write_bytes(b"one file, however it is written")
            with pytest.raises(FileExistsError):
                (place / "known").mkdir()
            expected = {"Known": b"one file, however it is written", **work(place)}
            assert contents(place) == expected
            assert mount.command("cache", "flush").returncode == 0
            assert {path.removeprefix("top/"): data for path, data in fake.files().items()} == expected
            fake.put("top/e/one", b"edited by somebody else")
            fake.put("top/new", b"new")
            until("what is new does not show", lambda: "new" in os.listdir(place))
            expected |= {"e/one": b"edited by somebody else", "new": b"new"}
            until("the edit does not show", lambda: contents(place) == expected)
            mount.umount()


def test_google_drive(tmp_path):
    with services.gdrive() as (fake, env):
        fake.add("top/same", b"first")
        fake.add("top/same", b"second")
        env = Cftool(tmp_path / "home", env).environment()
        with mounted("drive:top", tmp_path / "mnt", env, *FLAGS) as mount:
            place = mount.place
            found = contents(place)
            assert (sorted(found.values()), "same" in found, len(found)) == ([b"first", b"second"], True, 2)
            made = work(place)
            assert contents(place) == {**found, **made}
            assert mount.command("cache", "flush").returncode == 0
            stored = {path: data for path, data in fake.tree().items() if data is not None}
            assert stored == {"top/same": b"first", "top/same#2": b"second", **{f"top/{n}": d for n, d in made.items()}}
            [one] = fake.find("top/e/one")
            one.content = b"edited by somebody else"
            fake.change(one)
            fake.change(fake.add("top/new", b"new"))
            until("what is new does not show", lambda: "new" in os.listdir(place))
            expected = {**found, **made, "e/one": b"edited by somebody else", "new": b"new"}
            until("the edit does not show", lambda: contents(place) == expected)
            mount.umount()
