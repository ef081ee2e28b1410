"""The servers of tests/servers.py are what the other tests take them for."""

import pytest

from tests.servers import S3Server, boto3_client, new_bucket


@pytest.fixture(params=["rclone_server", "moto_server"])
def server(request: pytest.FixtureRequest) -> S3Server:
    return request.getfixturevalue(request.param)


def test_a_server_gives_back_what_was_put(server):
    client = boto3_client(server)
    bucket = new_bucket(server, create=True)
    client.put_object(Bucket=bucket, Key="a/b.txt", Body=b"hello", Metadata={"mtime": "1.5"})
    answer = client.get_object(Bucket=bucket, Key="a/b.txt")
    metadata = {name.lower(): value for name, value in answer["Metadata"].items()}
    assert (answer["Body"].read(), metadata["mtime"]) == (b"hello", "1.5")
    listed = client.list_objects_v2(Bucket=bucket)
    assert [item["Key"] for item in listed["Contents"]] == ["a/b.txt"]


def test_two_buckets_of_one_server_share_nothing(server):
    client = boto3_client(server)
    first, second = new_bucket(server, create=True), new_bucket(server, create=True)
    client.put_object(Bucket=first, Key="x", Body=b"1")
    assert client.list_objects_v2(Bucket=second).get("Contents", []) == []
