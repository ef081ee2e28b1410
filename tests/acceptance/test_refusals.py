"""What must delete nothing deletes nothing, through the real command, and exits as the manual says.

The destination is a full local tree that was synced once; then the source, or what the server says of it, goes wrong.
"""

import itertools
from pathlib import Path

import pytest

from tests import trees
from tests.command import Cftool, Done
from tests.proxy import Answer, Exchange, Proxy, Rules
from tests.servers import S3Server, boto3_client, moto_s3, new_bucket

pytestmark = pytest.mark.real

FILES = 12
HTML = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>Please accept our terms.</body></html>"
LAST_PAGE = b"<IsTruncated>false</IsTruncated>"
MORE = b"<IsTruncated>true</IsTruncated>"


def whole(status: int, kind: str, body: bytes):
    """A rewrite that answers always the same."""
    return lambda exchange, answer: Answer(status, {"Content-Type": kind}, body)


def replaced(old: bytes, new: bytes):
    """A rewrite of a part of the page; a page without it would make the test say nothing."""

    def rewrite(exchange: Exchange, answer: Answer) -> Answer:
        assert old in answer.body
        return Answer(answer.status, answer.headers, answer.body.replace(old, new))

    return rewrite


def half(exchange: Exchange, answer: Answer) -> Answer:
    return Answer(answer.status, answer.headers, answer.body[: len(answer.body) // 2])


def endless(token: str):
    """Rewrites that repeat a bucket's first page for ever; the token is `token`, with a number behind it or not."""
    first: dict[str, bytes] = {}
    numbers = itertools.count(1)

    def rewrite(exchange: Exchange, answer: Answer) -> Answer:
        page = first.setdefault(exchange.path, answer.body)
        assert LAST_PAGE in page
        name = f"number{next(numbers)}" if token == "number" else token
        more = MORE + f"<NextContinuationToken>{name}</NextContinuationToken>".encode()
        return Answer(200, {"Content-Type": "application/xml"}, page.replace(LAST_PAGE, more))

    return rewrite


LISTING_FAULTS = {
    "HTML with 200": (whole(200, "text/html", HTML), 1),
    "HTML with 200, said to be XML": (whole(200, "application/xml", HTML), 1),
    "empty body with 200": (whole(200, "application/xml", b""), 1),
    "JSON with 200": (whole(200, "application/json", b"{}"), 1),
    "half a page": (half, 1),
    "more, but no token": (replaced(LAST_PAGE, MORE), 1),
    "the same page and token again and again": (endless("again"), 1),
    "the same page with ever new tokens": (endless("number"), 1),
    "no word about truncation": (replaced(LAST_PAGE, b""), 1),
    "another bucket's page": (replaced(b"<Name>", b"<Name>not-"), 1),
    "another prefix's page": (replaced(b"<Prefix>data/</Prefix>", b"<Prefix>date/</Prefix>"), 1),
    "a count that does not match": (replaced(b"<KeyCount>", b"<KeyCount>9"), 1),
    "a name that climbs out": (replaced(b"<Key>data/", b"<Key>data/../"), 1),
    "an error document with 200": (whole(200, "application/xml", b"<Error><Code>AccessDenied</Code></Error>"), None),
    "forbidden": (whole(403, "application/xml", b"<Error><Code>AccessDenied</Code></Error>"), 4),
    "unavailable for a day": (
        lambda exchange, answer: Answer(503, {"Content-Type": "text/plain", "Retry-After": "86400"}, b"later"),
        5,
    ),
}


@pytest.fixture
def bucket(server: S3Server, tmp_path: Path) -> str:
    name = new_bucket(server, create=True)
    trees.make(tmp_path / "origin", files=FILES, seed=7)
    for path in trees.snapshot(tmp_path / "origin"):
        boto3_client(server).put_object(Bucket=name, Key=f"data/{path}", Body=(tmp_path / "origin" / path).read_bytes())
    return name


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "target"


def entries(root: Path) -> int:
    """Files and directories below `root`."""
    return sum(1 for _ in root.rglob("*"))


def withheld(done: Done) -> int:
    assert done.summary["why"], done
    return int(done.summary["deletions_withheld"])


@pytest.mark.parametrize("fault", LISTING_FAULTS)
def test_a_doubtful_listing_deletes_nothing(user: Cftool, server, bucket, target, fault):
    rewrite, code = LISTING_FAULTS[fault]
    with Proxy(server) as proxy:
        lab = user.with_server(proxy.server)
        lab.run("sync", f"lab:{bucket}/data", target)
        full = trees.snapshot(target)
        assert len(full) == FILES
        proxy.rules = Rules(wants=lambda exchange: exchange.is_listing, rewrite=rewrite)
        done = lab.run("sync", f"lab:{bucket}/data", target, code=code)
        assert proxy.count(lambda exchange: exchange.is_listing) > 1
    assert (done.code != 0, trees.snapshot(target)) == (True, full), done


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Answer(403, {"Content-Type": "application/xml"}, b"<Error><Code>AccessDenied</Code></Error>"), 4),
        (Answer(503, {"Retry-After": "86400"}, b""), 5),
        (Answer(200, {"Content-Type": "text/html"}, HTML), 1),
    ],
    ids=["forbidden", "unavailable", "a web page as content"],
)
def test_a_failed_transfer_deletes_nothing_and_stops_no_other(user: Cftool, server, bucket, target, answer, code):
    client = boto3_client(server)
    with Proxy(server) as proxy:
        lab = user.with_server(proxy.server)
        lab.run("sync", f"lab:{bucket}/data", target)
        full = trees.snapshot(target)
        for name in ("bad.txt", "good.txt"):
            client.put_object(Bucket=bucket, Key=f"data/{name}", Body=name.encode())
        client.delete_object(Bucket=bucket, Key=f"data/{next(iter(full))}")
        proxy.rules = Rules(answer=lambda exchange: answer if "bad.txt" in exchange.path else None)
        done = lab.run("sync", f"lab:{bucket}/data", target, "--json", code=code)
    assert [event["path"] for event in done.of("error")] == ["bad.txt"]
    assert withheld(done) == 1
    left = trees.snapshot(target)
    assert (left.pop("good.txt").size, left) == (len("good.txt"), full)


def test_a_file_that_vanished_meanwhile_is_counted_and_holds_nothing_back(user: Cftool, server, bucket, target):
    client = boto3_client(server)
    gone = Answer(404, {"Content-Type": "application/xml"}, b"<Error><Code>NoSuchKey</Code></Error>")
    with Proxy(server) as proxy:
        lab = user.with_server(proxy.server)
        lab.run("sync", f"lab:{bucket}/data", target)
        full = trees.snapshot(target)
        deleted = min(full)
        client.put_object(Bucket=bucket, Key="data/vanishing.txt", Body=b"there for the listing only")
        client.delete_object(Bucket=bucket, Key=f"data/{deleted}")
        proxy.rules = Rules(answer=lambda exchange: gone if "vanishing.txt" in exchange.path else None)
        done = lab.run("sync", f"lab:{bucket}/data", target, "--json")
    assert [(event["path"], event["reason"]) for event in done.of("skip")] == [("vanishing.txt", "vanished")]
    del full[deleted]
    assert trees.snapshot(target) == full


def test_a_missing_prefix_is_not_found(user: Cftool, server, bucket, target):
    lab = user.with_server(server)
    lab.run("sync", f"lab:{bucket}/data", target)
    full = trees.snapshot(target)
    lab.run("sync", f"lab:{bucket}/dada", target, code=3)
    lab.run("sync", f"lab:{bucket}-typo/data", target, code=3)
    lab.run("sync", target.parent / "nowhere", target, code=3)
    assert trees.snapshot(target) == full


def test_an_empty_bucket_is_refused_until_it_is_allowed(user: Cftool, server, bucket, target):
    lab = user.with_server(server)
    lab.run("sync", f"lab:{bucket}/data", target)
    full = trees.snapshot(target)
    empty = new_bucket(server, create=True)
    assert withheld(lab.run("sync", f"lab:{empty}", target, "--json", code=7)) == entries(target)
    assert trees.snapshot(target) == full


def test_an_empty_local_source_is_refused_until_it_is_allowed(user: Cftool, server, bucket, tmp_path):
    lab = user.with_server(server)
    empty = tmp_path / "empty"
    empty.mkdir()
    done = lab.run("sync", empty, f"lab:{bucket}/data", "--json", code=7)
    assert withheld(done) == FILES
    assert boto3_client(server).list_objects_v2(Bucket=bucket)["KeyCount"] == FILES
    lab.run("sync", empty, f"lab:{bucket}/data", "--allow-empty-source")
    assert boto3_client(server).list_objects_v2(Bucket=bucket).get("Contents", []) == []


def test_another_endpoint_under_the_same_name_is_refused(user: Cftool, server, bucket, target):
    user.with_server(server).run("sync", f"lab:{bucket}/data", target)
    full = trees.snapshot(target)
    with moto_s3() as other:
        client = boto3_client(other)
        client.create_bucket(Bucket=bucket)
        client.put_object(Bucket=bucket, Key="data/only.txt", Body=b"only")
        elsewhere = user.with_server(other)
        before = entries(target)
        assert withheld(elsewhere.run("sync", f"lab:{bucket}/data", target, "--json", code=7)) == before
        left = trees.snapshot(target)
        assert (left.pop("only.txt").size, left) == (4, full)
        elsewhere.run("sync", f"lab:{bucket}/data", target, "--force-delete")
    assert list(trees.snapshot(target)) == ["only.txt"]


def test_another_local_directory_under_the_same_name_is_refused(user: Cftool, server, tmp_path):
    lab = user.with_server(server)
    bucket = new_bucket(server, create=True)
    source = tmp_path / "source"
    trees.make(source, files=FILES, seed=8)
    lab.run("sync", source, f"lab:{bucket}/data")
    source.rename(tmp_path / "unmounted")
    source.mkdir()
    trees.write(source / "lost+found.txt", b"another disk", mtime_ns=10**18)
    assert withheld(lab.run("sync", source, f"lab:{bucket}/data", "--json", code=7)) == FILES
    assert boto3_client(server).list_objects_v2(Bucket=bucket)["KeyCount"] == FILES + 1
    lab.run("sync", source, f"lab:{bucket}/data", "--force-delete")
    assert boto3_client(server).list_objects_v2(Bucket=bucket)["KeyCount"] == 1


def test_overlapping_sides_are_refused(user: Cftool, server, bucket, target):
    lab = user.with_server(server)
    lab.run("sync", f"lab:{bucket}/data", target)
    full = trees.snapshot(target)
    folder = next(path for path in target.iterdir() if path.is_dir())
    lab.run("sync", target, target, code=7)
    lab.run("sync", folder, target, code=7)
    lab.run("sync", target, folder, code=7)
    lab.run("sync", f"lab:{bucket}/data", f"lab:{bucket}", code=7)
    lab.run("sync", f"lab:{bucket}", f"lab:{bucket}/data", code=7)
    assert trees.snapshot(target) == full
    assert boto3_client(server).list_objects_v2(Bucket=bucket)["KeyCount"] == FILES


def test_a_plan_over_the_limit_is_refused(user: Cftool, rclone_server, tmp_path):
    lab = user.with_server(rclone_server)
    bucket = new_bucket(rclone_server, create=True)
    source = tmp_path / "source"
    for number in range(240):
        trees.write(source / f"{number:03d}", b"x", mtime_ns=10**18)
    lab.run("sync", source, f"lab:{bucket}/data")
    for number in range(130):
        (source / f"{number:03d}").unlink()
    served = rclone_server.directory / bucket / "data"
    assert withheld(lab.run("sync", source, f"lab:{bucket}/data", "--json", code=7)) == 130
    assert withheld(lab.run("sync", source, f"lab:{bucket}/data", "--json", "--max-delete", "129", code=7)) == 130
    assert withheld(lab.run("sync", source, f"lab:{bucket}/data", "--json", "--max-delete", "50%", code=7)) == 130
    assert len(trees.snapshot(served)) == 240
    lab.run("sync", source, f"lab:{bucket}/data", "--max-delete", "130")
    assert len(trees.snapshot(served)) == 110
