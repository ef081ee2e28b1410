"""The corpus of names through a mount: what a program can make there is on the service, and the other way round.

What the service cannot hold is refused when the file is made; what no file name can say is left out and told.
"""

import os
from pathlib import Path

import pytest

from tests.adversarial.corpus import CORPUS, content, on_disk
from tests.adversarial.services import served
from tests.adversarial.test_names import HOSTILE, encodes, home, raw, read
from tests.mount.mounted import missing_fuse, mounted

__all__ = ["home"]
pytestmark = [pytest.mark.real, pytest.mark.skipif(missing_fuse() is not None, reason=str(missing_fuse()))]


@pytest.mark.parametrize("kind", ["local", "s3"])
def test_names_made_on_a_mount_are_kept_exactly_or_refused_there(kind, home, record_property):
    names = [name for name in CORPUS if on_disk(name)]
    made, refused = {}, set()
    with served(kind, home, sockets=True) as service:
        with mounted(service.place, home / "mnt", dict(os.environ), "--cache", "1h") as mount:
            lead = os.fsencode(mount.place) + b"/"
            for name in names:
                try:
                    Path(os.fsdecode(lead + os.fsencode(name))).write_bytes(content(name))
                except OSError:
                    refused.add(name)
                else:
                    made[name] = content(name)
            assert read(mount.place) == made
            mount.umount()
        assert service.stored() == made
        assert raw(mount.log.read_bytes()) == []
    assert refused == ({name for name in names if not encodes(name)} if kind == "s3" else set())
    record_property("names on a mount", len(names))


@pytest.mark.parametrize("kind", ["s3", "gs"])
def test_names_of_a_service_show_exactly_or_not_at_all(kind, home, record_property):
    hostile = [name for name in HOSTILE if name and "\0" not in name]
    with served(kind, home, sockets=True) as service:
        plain = [name for name in CORPUS if encodes(name) and not name.endswith(".rclonelink")]  # those show as links
        for name in [*plain, *hostile, "...rclonelink"]:  # this one as `..`, or not
            service.put(name, content(name))
        wanted = {name: content(name) for name in plain if on_disk(name)}
        before = service.stored()
        with mounted(service.place, home / "mnt", dict(os.environ)) as mount:
            shown = {os.fsdecode(name) for name in os.listdir(os.fsencode(mount.place))}
            files = {name for name in shown if on_disk(name) and not os.path.isdir(mount.place / name)}
            assert files == wanted.keys()
            lead = os.fsencode(mount.place) + b"/"
            for name in sorted(files)[::7]:
                assert Path(os.fsdecode(lead + os.fsencode(name))).read_bytes() == wanted[name]
            for directory, folders, _ in os.walk(os.fsencode(mount.place)):
                assert not {b"", b".", b".."} & set(folders), directory
            mount.umount()
        assert service.stored() == before
    record_property("names of a service", len(before))
