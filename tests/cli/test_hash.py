"""hash: lines that sha256sum writes and verifies alike, on each kind of store."""

import hashlib
import os
import shutil
import subprocess

import pytest

from cftool.cli import hashes
from cftool.core import hashing
from cftool.testing.fake_s3_pages import Habits, to_base64
from tests.cli.conftest import tree

ABC = hashlib.sha256(b"abc").hexdigest()


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


class TestLines:
    def test_a_file_and_a_tree(self, run, place):
        place.put("f", b"abc")
        place.put("d/x", b"x")
        place.put("d/e/y", b"y")
        assert run("hash", "sha256", place.at("f")).lines == [f"{ABC}  {place.at('f')}"]
        assert run("hash", "SHA-256", "-r", place.at("d"), place.at("f")).lines == [
            f"{sha256('y')}  {place.at('d/e/y')}",
            f"{sha256('x')}  {place.at('d/x')}",
            f"{ABC}  {place.at('f')}",
        ]
        (event,) = run("hash", "md5", place.at("f"), "--json").events
        assert event == {
            "v": 1,
            "event": "hash",
            "path": place.at("f"),
            "type": "md5",
            "hash": hashlib.md5(b"abc").hexdigest(),
        }

    @pytest.mark.parametrize("name", ["md5", "sha1", "sha256", "sha512", "crc32", "crc32c", "crc64nvme", "dropbox"])
    def test_every_type(self, run, place, name):
        place.put("f", b"abc")
        assert run("hash", name, place.at("f")).lines == [f"{hashing.digest(name, b'abc')}  {place.at('f')}"]

    def test_directories_need_r_and_one_that_fails_stops_no_other(self, run, place):
        place.put("d/x", b"x")
        place.put("f", b"abc")
        ran = run("hash", "sha256", place.at("d"), place.at("missing"), place.at("f/"), place.at("f"), code=3)
        assert "-r" in ran.err
        assert ran.lines == [f"{ABC}  {place.at('f')}"]
        assert run("hash", "sha256", place.at("d"), code=1).out == b""

    def test_standard_input(self, run, here, stdin):
        stdin(b"abc")
        assert run("hash", "sha256", "-").lines == [f"{ABC}  -"]

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["hash", "sha265", "f"], "unknown hash 'sha265'; did you mean 'sha256'?"),
            (["hash", "f"], "unknown hash 'f'"),
            (["hash", "sha256"], "TYPE PATH"),
            (["hash", "xxh3", "f"], "unknown hash 'xxh3'"),
            (["hash", "sha256", "-c", "SUMS", "a", "b"], "one PATH"),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, list) else "",
    )
    def test_what_is_wrong_is_told(self, run, here, words, said):
        tree(here, f="abc", SUMS="")
        assert said in run(*words, code=None).err

    def test_links_are_counted_and_not_hashed(self, run, here):
        tree(here, d__f="abc")
        (here / "d/link").symlink_to("f")
        ran = run("hash", "sha256", "-r", "d")
        assert ran.lines == [f"{ABC}  d/f"]
        assert "1 entry not hashed" in ran.err
        assert run("hash", "sha256", "d/link").lines == [f"{ABC}  d/link"]


class TestWhatTheServiceTells:
    def test_a_listed_hash_costs_no_reading(self, run, fake_s3):
        fake_s3.make("bucket", ["d/a", "d/b"], b"abc")
        fake_s3.ops.clear()
        md5 = hashlib.md5(b"abc").hexdigest()
        assert run("hash", "md5", "-r", "lab:bucket/d").lines == [f"{md5}  lab:bucket/d/{name}" for name in "ab"]
        assert "GetObject" not in fake_s3.ops
        assert fake_s3.ops["HeadObject"] == 2  # of `d`, and of the first file: whether the listing is to be believed
        run("hash", "md5", "-r", "lab:bucket/d", "--download")
        assert fake_s3.ops["GetObject"] == 2

    def test_a_hash_that_only_a_request_tells_is_asked_for(self, run, fake_s3):
        stored = fake_s3.make("bucket", ["d/a"], b"abc")["d/a"]
        stored.sums["crc64nvme"] = to_base64(hashing.digest("crc64nvme", b"abc"))
        fake_s3.ops.clear()
        assert run("hash", "crc64nvme", "-r", "lab:bucket/d").lines == [
            f"{hashing.digest('crc64nvme', b'abc')}  lab:bucket/d/a"
        ]
        assert "GetObject" not in fake_s3.ops

    def test_what_only_looks_like_an_md5_in_a_listing_is_not_believed(self, run, fake_s3):
        fake_s3.habits = Habits(kms=True)
        fake_s3.make("bucket", ["d/a", "d/b"], b"abc")
        md5 = hashlib.md5(b"abc").hexdigest()
        assert md5 not in {stored.etag for stored in fake_s3.buckets["bucket"].values()}
        assert run("hash", "md5", "-r", "lab:bucket/d").lines == [f"{md5}  lab:bucket/d/{name}" for name in "ab"]

    def test_an_object_that_changed_its_bytes_on_the_way_is_an_error(self, run, fake_s3):
        from cftool.testing.http_fake import FakeResponse

        fake_s3.make("bucket", ["d/a", "d/b"], b"abc")
        fake_s3.change("GetObject", lambda _, answer: FakeResponse(200, answer.headers, b"abd"), key="d/a", times=99)
        ran = run("hash", "sha256", "-r", "lab:bucket/d", code=1)
        assert ran.lines == [f"{ABC}  lab:bucket/d/b"]
        assert "lab:bucket/d/a" in ran.err


class TestCheck:
    @pytest.fixture
    def sums(self, run, place, here):
        place.put("f", b"abc")
        place.put("d/x", b"x")
        (here / "SUMS").write_bytes(run("hash", "sha256", "-r", place.at("")).out)
        return here / "SUMS"

    def test_what_is_right_is_ok(self, run, place, sums):
        ran = run("hash", "sha256", "--check", sums)
        assert ran.lines == [f"{place.at('d/x')}: OK", f"{place.at('f')}: OK"]
        assert ran.err == ""
        assert run("hash", "sha256", "--check", sums, "-q").out == b""
        run("hash", "sha256", "--check", sums, "--download")

    def test_mismatch_and_missing_are_named_and_1(self, run, place, sums):
        place.put("f", b"abd")
        place.store.delete(f"{place.path}/d/x")
        ran = run("hash", "sha256", "-c", sums, code=1)
        assert ran.lines == [f"{place.at('d/x')}: FAILED open or read", f"{place.at('f')}: FAILED"]
        assert "1 computed checksum did NOT match" in ran.err
        assert "1 listed file could not be read" in ran.err
        events = run("hash", "sha256", "-c", sums, "--json", code=1)
        assert [event["ok"] for event in events.of("check")] == [False]
        assert [event["kind"] for event in events.of("error")] == ["not_found"]
        assert events.summary == {
            "v": 1,
            "event": "summary",
            "checked": 1,
            "failed": 1,
            "unreadable": 1,
            "missing": 0,
            "malformed": 0,
            "exit": 1,
        }

    def test_names_below_a_path(self, run, place, sums, here):
        (here / "REL").write_text(f"{ABC}  ./f\n{sha256('x')} *d/x\nSHA256 (d/x) = {sha256('x').upper()}\n")
        assert run("hash", "sha256", "-c", "REL", place.at("")).lines == ["./f: OK", "d/x: OK", "d/x: OK"]
        (here / "REL").write_text(f"{ABC}  ../f\n{ABC}  nothing\n")
        assert run("hash", "sha256", "-c", "REL", place.at(""), code=1).lines == [
            "../f: FAILED open or read",
            "nothing: FAILED open or read",
        ]

    def test_missing_may_be_ignored_but_not_everything(self, run, place, sums, here):
        (here / "REL").write_text(f"{ABC}  f\n{ABC}  nothing\n")
        assert run("hash", "sha256", "-c", "REL", place.at(""), "--ignore-missing").lines == ["f: OK"]
        (here / "REL").write_text(f"{ABC}  nothing\n")
        assert (
            "no file was verified" in run("hash", "sha256", "-c", "REL", place.at(""), "--ignore-missing", code=1).err
        )

    def test_the_sums_may_be_anywhere(self, run, place, sums, stdin):
        place.put("SUMS", sums.read_bytes())
        assert len(run("hash", "sha256", "-c", place.at("SUMS")).lines) == 2
        stdin(sums.read_bytes())
        assert len(run("hash", "sha256", "-c", "-").lines) == 2
        run("hash", "sha256", "-c", place.at("missing"), code=3)


class TestCheckHere:
    def test_lines_that_are_none_are_named(self, run, here):
        tree(here, f="abc", SUMS=f"# comment\n\nnonsense\n{ABC[:-1]}  f\nMD5 (f) = {ABC}\n{ABC}  f\n")
        ran = run("hash", "sha256", "-c", "SUMS")
        assert ran.lines == ["f: OK"]
        assert [line.split(": ")[2] for line in ran.err.splitlines()[:3]] == [
            f"line {number} is no line of sha256 sums" for number in (3, 4, 5)
        ]
        assert "3 lines improperly formatted" in ran.err
        run("hash", "sha256", "-c", "SUMS", "--strict", code=1)
        tree(here, SUMS="nonsense\n")
        assert "no line of sums" in run("hash", "sha256", "-c", "SUMS", code=1).err
        tree(here, SUMS="")
        run("hash", "sha256", "-c", "SUMS", code=1)
        (here / "SUMS").write_bytes(bytes(100_000))
        assert "no file of sums" in run("hash", "sha256", "-c", "SUMS", code=1).err
        tree(here, SUMS=f"{ABC}  -\n{ABC}  nosuch:f\n")
        assert run("hash", "sha256", "-c", "SUMS", code=2).lines == [
            "-: FAILED open or read",
            "nosuch:f: FAILED open or read",
        ]

    def test_line_ends_of_windows(self, run, here):
        (here / "f").write_text("abc")
        (here / "SUMS").write_bytes(f"{ABC}  f\r\n".encode())
        assert run("hash", "sha256", "-c", "SUMS").lines == ["f: OK"]

    def test_links_are_followed(self, run, here):
        tree(here, d__f="abc", SUMS=f"{ABC}  link\n")
        (here / "link").symlink_to("d/f")
        (here / "d/link").symlink_to("f")
        assert run("hash", "sha256", "-c", "SUMS").lines == ["link: OK"]
        assert run("hash", "sha256", "-c", "SUMS", "d").lines == ["link: OK"]


NAMES = [
    "plain",
    "a b",
    "back\\slash",
    "new\nline",
    "both\\\n",
    "car\rriage",
    "  lead",
    "*star",
    "\\n",
    "ü",
    "tab\t",
    ":c",
]


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="coreutils is not installed")
class TestBesideCoreutils:
    def test_lines_are_those_of_sha256sum_and_read_by_it(self, run, here):
        for name in [*NAMES, b"no\xff"]:
            (here / os.fsdecode(name)).write_bytes(os.fsencode(name))
        names = sorted(os.listdir(here))
        plain = [name for name in names if "\r" not in name]  # some versions of coreutils escape it, some do not
        paths = [f"./{name}" for name in plain]
        theirs = subprocess.run(["sha256sum", *paths], capture_output=True, check=True).stdout
        ours = run("hash", "sha256", *paths).out
        assert ours == theirs
        assert run("hash", "sha256", "-r", ".").out.count(b"\n") == len(names)
        done = subprocess.run(["sha256sum", "-c"], input=ours, capture_output=True, check=False)
        assert done.returncode == 0
        (here / "SUMS").write_bytes(theirs)
        mine = run("hash", "sha256", "-c", "SUMS").out
        assert mine == done.stdout

    def test_every_name_comes_back(self):
        for name in NAMES:
            mark, shown = hashes.escaped(name)
            assert hashes.parse(f"{mark}{ABC}  {shown}", "sha256") == hashes.Sum(name, ABC)

    @pytest.mark.parametrize("line", [f"\\{ABC}  a\\b", f"\\{ABC}  a\\\\\\", f"{ABC}", f"{ABC}  ", f"g{ABC[1:]}  f"])
    def test_what_is_no_line(self, line):
        assert hashes.parse(line, "sha256") is None


def test_results_come_in_order_whoever_is_first():
    import threading

    gates = [threading.Event() for _ in range(40)]

    def wait(number):
        if number % 2 == 0 and number + 1 < len(gates):
            assert gates[number + 1].wait(20)  # the next one ends first
        gates[number].set()
        return number * number

    found = list(hashes.in_order(wait, range(40), threads=4))
    assert found == [(number, number * number) for number in range(40)]
