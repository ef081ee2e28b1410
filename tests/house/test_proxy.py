"""The proxy of tests/proxy.py passes everything unchanged, counts it exactly, and breaks what it is told to break."""

import threading

import botocore.exceptions
import pytest

from tests.proxy import Answer, Proxy, Rules
from tests.servers import boto3_client, new_bucket

MIB = 1 << 20


@pytest.fixture
def proxy(rclone_server):
    with Proxy(rclone_server) as proxy:
        yield proxy


@pytest.fixture
def bucket(rclone_server):
    return new_bucket(rclone_server, create=True)


def test_bodies_pass_in_both_directions_and_are_counted(proxy, bucket):
    client = boto3_client(proxy.server)
    client.put_object(Bucket=bucket, Key="k", Body=b"x" * MIB)
    assert client.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x" * MIB
    client.head_object(Bucket=bucket, Key="k")  # on the same connection: what came before it is over
    put, get, _ = proxy.exchanges
    assert (put.method, put.complete, get.method, get.received, get.complete) == ("PUT", True, "GET", MIB, True)
    # boto3 frames its uploads in chunks with a checksum at the end.
    assert MIB <= put.sent < MIB + 1024


def test_a_listing_is_rewritten(proxy, bucket):
    proxy.rules = Rules(
        wants=lambda exchange: exchange.is_listing,
        rewrite=lambda exchange, answer: Answer(200, answer.headers, answer.body.replace(b"<Name>", b"<Name>other-")),
    )
    assert boto3_client(proxy.server).list_objects_v2(Bucket=bucket)["Name"] == f"other-{bucket}"


def test_an_answer_is_made_up_without_the_server(proxy, bucket):
    proxy.rules = Rules(answer=lambda exchange: Answer(403, {"Content-Type": "application/xml"}, b"<Error/>"))
    with pytest.raises(botocore.exceptions.ClientError):
        boto3_client(proxy.server).list_objects_v2(Bucket=bucket)
    assert [exchange.status for exchange in proxy.exchanges] == [403]


def test_traffic_is_held_after_so_many_bytes_and_released(proxy, bucket):
    proxy.rules = Rules(hold_sent=2 * MIB)
    client = boto3_client(proxy.server)
    failures = []

    def upload() -> None:
        try:
            client.put_object(Bucket=bucket, Key="held", Body=b"x" * 8 * MIB)
        except botocore.exceptions.BotoCoreError as error:
            failures.append(error)

    thread = threading.Thread(target=upload)
    thread.start()
    assert proxy.held.wait(60)
    assert 2 * MIB <= proxy.sent < 3 * MIB
    proxy.release()
    thread.join(60)
    # boto3 tried again after the release; what was held never became an object by itself.
    assert (failures, proxy.held.is_set()) == ([], False)
    assert client.head_object(Bucket=bucket, Key="held")["ContentLength"] == 8 * MIB
