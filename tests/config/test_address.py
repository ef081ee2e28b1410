"""Addresses: what each form means, and that a mistake is told and not taken for a local file."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cftool.config.address import Address, parse, shown, valid_name
from cftool.core.errors import ConfigError

REMOTES = {"s3", "work", "local", "my-remote.2", "A_b"}


def address(text):
    return parse(text, remotes=REMOTES)


@pytest.mark.parametrize(
    ("text", "remote", "path", "slash"),
    [
        ("s3:", "s3", "", False),
        ("s3:/", "s3", "", True),
        ("s3:bucket/key", "s3", "bucket/key", False),
        ("s3:/bucket/key", "s3", "bucket/key", False),
        ("s3:bucket/dir/", "s3", "bucket/dir", True),
        ("s3://bucket//key//", "s3", "bucket//key/", True),
        ("s3://bucket/key", "s3", "bucket/key", False),
        ("s3://", "s3", "", True),
        ("work:///key", "work", "/key", False),
        ("work:a:b", "work", "a:b", False),
        ("work:a,b=c", "work", "a,b=c", False),
        ("work:-", "work", "-", False),
        ("work: a ", "work", " a ", False),
        ("my-remote.2:x", "my-remote.2", "x", False),
        ("A_b:x", "A_b", "x", False),
        ("local:/abs/path", "local", "abs/path", False),
        ("work:é\udcff", "work", "é\udcff", False),
    ],
)
def test_remote(text, remote, path, slash):
    assert address(text) == Address(text, remote, path, {}, slash)


@pytest.mark.parametrize(
    ("text", "path", "slash"),
    [
        ("./a:b", "./a:b", False),
        ("/abs/a:b", "/abs/a:b", False),
        ("dir/a:b", "dir/a:b", False),
        ("dir/work:b", "dir/work:b", False),
        ("file", "file", False),
        ("dir/", "dir", True),
        ("dir//", "dir", True),
        ("/", "/", False),
        ("//", "/", True),
        (".", ".", False),
        ("..", "..", False),
        ("a,b", "a,b", False),
        ("work", "work", False),
        ("work,a=1", "work,a=1", False),
        ("work,a=1/b", "work,a=1/b", False),
        ("x,y/c:d", "x,y/c:d", False),
        ("--", "--", False),
        (" ", " ", False),
        ("é/x:y", "é/x:y", False),
        ("it's/x", "it's/x", False),
        ("name,'quoted", "name,'quoted", False),
    ],
)
def test_local_path(text, path, slash):
    assert address(text) == Address(text, None, path, {}, slash)


def test_standard_input_and_output():
    assert address("-") == Address("-", None, "-", is_stdio=True)
    assert not address("./-").is_stdio


@pytest.mark.parametrize(
    ("text", "overrides", "path"),
    [
        ("work,region=eu:p", {"region": "eu"}, "p"),
        ("work,flag:p", {"flag": "true"}, "p"),
        ("work,flag,region=eu,other:p/", {"flag": "true", "region": "eu", "other": "true"}, "p"),
        ("work,empty=:p", {"empty": ""}, "p"),
        ('work,empty="":p', {"empty": ""}, "p"),
        ('work,endpoint_url="http://localhost:9000":b/k', {"endpoint_url": "http://localhost:9000"}, "b/k"),
        ("work,endpoint_url='http://h:1/x,y':b", {"endpoint_url": "http://h:1/x,y"}, "b"),
        ('work,a="say ""hi""":p', {"a": 'say "hi"'}, "p"),
        ("work,a='it''s':p", {"a": "it's"}, "p"),
        ("work,a='say \"hi\"':p", {"a": 'say "hi"'}, "p"),
        ("work,a=x=y:p", {"a": "x=y"}, "p"),
        ("work,a=ü b:p", {"a": "ü b"}, "p"),
        ("work,a=1:/p", {"a": "1"}, "p"),
        ("work,a=1:b/c:d", {"a": "1"}, "b/c:d"),
        ('work,a="x/y",b=2:p', {"a": "x/y", "b": "2"}, "p"),
    ],
)
def test_options_for_this_use(text, overrides, path):
    parsed = address(text)
    assert (parsed.remote, parsed.overrides, parsed.path) == ("work", overrides, path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("a\0b", "NUL"),
        (":path", "name is missing"),
        ("a b:c", "can be no remote's name"),
        ("-x:y", "can be no remote's name"),
        ("é:x", "can be no remote's name"),
        ("wrok:x", "did you mean 'work'"),
        ("zzz:x", "cftool config list"),
        ("zzz,a=1:x", "unknown remote 'zzz'"),
        ("work,:x", "option's name is expected"),
        ("work,=1:x", "option's name is expected"),
        ("work,1a=1:x", "option's name is expected"),
        ("work,a=1,a=2:x", "given twice"),
        ('work,a="x:y', "not closed"),
        ("work,a='x''", "not closed"),
        ("work,a='x'y:z", "colon is missing"),
        ("work,a=it's:z", "colon is missing"),
        ("work,u=http://h:9000:b", "needs quotes"),
        ("work,u=a/b:p", "colon is missing"),
    ],
)
def test_mistakes_are_told(text, message):
    if text == "work,a='x''":  # no colon: a file of that name
        assert address(text).remote is None
        return
    with pytest.raises(ConfigError, match=message):
        address(text)


def test_a_mistake_says_how_the_local_file_is_written():
    with pytest.raises(ConfigError, match=r"written \./wrok:x"):
        address("wrok:x")


def test_messages_drive_no_terminal():
    with pytest.raises(ConfigError) as caught:
        address("\x1b]0;title:x")
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(("name", "valid"), [("a", True), ("_", True), ("9-x", True), ("a.b+c@d", True)])
def test_names_that_a_remote_may_have(name, valid):
    assert valid_name(name) is valid


@pytest.mark.parametrize("name", ["", "-a", ".a", "a b", "a:b", "a/b", "a,b", "é", "a\n", "a=b"])
def test_names_that_a_remote_may_not_have(name):
    assert not valid_name(name)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.text(alphabet="swork3:,/=\"'-. aé\0\n", max_size=25))
def test_any_text_is_an_address_or_a_config_error(text):
    refused = ""
    try:
        parsed = address(text)
    except ConfigError as error:
        refused = str(error)
    if refused:
        assert refused.isprintable()
        return
    assert parsed.text == text
    assert parsed.remote is None or parsed.remote in REMOTES
    if parsed.remote is None and "/" not in text:
        assert ":" not in text


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30),
    st.sampled_from("\"'"),
)
def test_any_value_survives_quoting(value, quote):
    quoted = quote + value.replace(quote, quote * 2) + quote
    assert address(f"work,option={quoted},flag:path").overrides == {"option": value, "flag": "true"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3,secret_access_key=x/y:b: no", "s3,secret_access_key=***:b: no"),
        ("s3,secret_access_key=abc:b: no", "s3,secret_access_key=***:b: no"),
        ("""w,user=u,password='a:b''c',url="https://h/":x""", """w,user=u,password=***,url="https://h/":x"""),
        ('w,bearer_token="a b":x and w,app_secret=y:z', "w,bearer_token=***:x and w,app_secret=***:z"),
        ("w,access_key_id=x,region=y:b", "w,access_key_id=x,region=y:b"),
        ("password=x", "password=x"),
    ],
)
def test_secrets_of_an_address_are_not_shown(text, expected):
    assert shown(text) == expected
