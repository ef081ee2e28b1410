"""Wrong bodies behind a mount: a program reads the right bytes, or an error; what came wrong is not kept as the file.

Each file is read whole and for the first time. A fault that always comes is one that no wait would mend.
"""

import os

import pytest

from tests import trees
from tests.adversarial.services import served
from tests.adversarial.test_body_faults import FAULTS, SAME_LENGTH, Bad
from tests.adversarial.test_names import home
from tests.mount.mounted import missing_fuse, mounted

__all__ = ["home"]
pytestmark = [pytest.mark.real, pytest.mark.skipif(missing_fuse() is not None, reason=str(missing_fuse()))]

SIZES = (900, 300_000)
LASTING = {*SAME_LENGTH, "short", "one byte short", "nothing", "padded", "one byte too many", "a web page"}


@pytest.mark.parametrize("kind", ["s3"])
def test_no_wrong_body_is_read_from_a_mount(kind, home, record_property):
    wrong, errors, runs = {}, 0, 0
    with served(kind, home, sockets=True) as service:
        wanted = {}
        for number, fault in enumerate(FAULTS):
            for size in SIZES:
                for times in (1, 10**6) if fault in LASTING else (1,):
                    wanted[fault, size, times] = (f"f{number}-{size}-{times}", trees.content(fault, size))
        for name, data in wanted.values():
            service.put(name, data)
        with mounted(service.place, home / "mnt", dict(os.environ)) as mount:
            for (fault, size, times), (name, data) in wanted.items():
                runs += 1
                service.change = bad = Bad(service, FAULTS[fault], times)
                try:
                    found = (mount.place / name).read_bytes()
                except OSError:
                    errors += 1
                    found = data
                service.change = lambda _, answer: answer
                if not bad.applied:
                    wrong[fault, size, times] = "was never sent"
                elif found != data:
                    wrong[fault, size, times] = f"was read: {len(found)} bytes"
                elif (mount.place / name).read_bytes() != data:
                    wrong[fault, size, times] = "was kept"
            mount.umount()
    assert wrong == {}
    assert errors > 0
    record_property("bad downloads of a mount", runs)
    record_property("read errors", errors)
