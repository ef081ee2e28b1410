"""Secrets by reference: each kind, each way that it can fail, and that no secret is in a message."""

import os
import sys
import types

import pytest

from cftool.config import secrets
from cftool.config.secrets import Reference, reference, resolve
from cftool.core.errors import ConfigError

WHAT = "config.toml:3: option 'secret'"


def secret(tmp_path, table, env=None, timeout=60.0):
    return resolve(reference(table, WHAT), WHAT, env=env or {}, directory=str(tmp_path), timeout=timeout).reveal()


# ---- the form


@pytest.mark.parametrize(
    ("table", "checked"),
    [
        ({"command": "pass show x"}, Reference("command", "pass show x")),
        ({"command": ["pass", "show", "x"]}, Reference("command", ("pass", "show", "x"))),
        ({"env": "X"}, Reference("env", "X")),
        ({"file": "/x"}, Reference("file", "/x")),
        ({"keyring": "s/u"}, Reference("keyring", "s/u")),
    ],
)
def test_a_reference_is_one_of_four(table, checked):
    assert reference(table, WHAT) == checked


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (5, "a secret is a string or one of"),
        ({}, "a secret is a string or one of"),
        ({"env": "X", "file": "Y"}, "a secret is a string or one of"),
        ({"comand": "x"}, "did you mean 'command'"),
        ({"vault": "x"}, "unknown kind of secret 'vault'"),
        ({"env": 5}, "env takes a text"),
        ({"env": ""}, "env takes a text"),
        ({"env": ["X"]}, "env takes a text"),
        ({"command": []}, "a text or a list of texts"),
        ({"command": ["a", 5]}, "a text or a list of texts"),
        ({"command": True}, "a text or a list of texts"),
    ],
)
def test_anything_else_is_refused(table, message):
    with pytest.raises(ConfigError, match=message) as caught:
        reference(table, WHAT)
    assert str(caught.value).startswith(WHAT)


# ---- command


def test_a_text_runs_through_the_shell(tmp_path):
    assert secret(tmp_path, {"command": "printf 'a\\n' | tr a b"}, {"PATH": os.environ["PATH"]}) == "b"


def test_a_list_runs_as_it_is(tmp_path):
    assert secret(tmp_path, {"command": [sys.executable, "-c", "print('$HOME *')"]}) == "$HOME *"


def test_a_command_has_the_environment_that_was_given_and_no_input(tmp_path):
    code = "import os, sys; print(os.environ['X'] + str(len(sys.stdin.read())))"
    assert secret(tmp_path, {"command": [sys.executable, "-c", code]}, {"X": "given"}) == "given0"


@pytest.mark.parametrize(("output", "kept"), [("a\\n", "a"), ("a\\r\\n\\n", "a"), (" a ", " a "), ("a\\nb\\n", "a\nb")])
def test_only_line_ends_at_the_end_are_cut(tmp_path, output, kept):
    assert secret(tmp_path, {"command": ["/usr/bin/printf", output]}) == kept


def test_a_command_that_fails_says_its_last_words_and_no_secret(tmp_path):
    with pytest.raises(ConfigError, match="failed with exit code 3: no such entry") as caught:
        secret(tmp_path, {"command": "echo hunter2; echo first >&2; echo no such entry >&2; exit 3"})
    assert "first" not in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_command_that_fails_silently(tmp_path):
    with pytest.raises(ConfigError, match=r"failed with exit code 1$"):
        secret(tmp_path, {"command": "exit 1"})


def test_a_command_that_does_not_exist(tmp_path):
    with pytest.raises(ConfigError, match="'/nonexistent/x' cannot run: No such file"):
        secret(tmp_path, {"command": ["/nonexistent/x", "arg"]})


def test_a_command_that_hangs_is_given_up(tmp_path):
    with pytest.raises(ConfigError, match=r"no secret within 0\.05 s"):
        secret(tmp_path, {"command": "exec sleep 30"}, {"PATH": os.environ["PATH"]}, timeout=0.05)


@pytest.mark.parametrize("output", ["", "\\n\\n"])
def test_an_empty_secret_is_no_secret(tmp_path, output):
    with pytest.raises(ConfigError, match="is empty"):
        secret(tmp_path, {"command": ["/usr/bin/printf", output]})


def test_output_that_is_no_text_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no UTF-8 text"):
        secret(tmp_path, {"command": ["/usr/bin/printf", "\\377"]})


def test_output_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(secrets, "_LARGEST", 10)
    with pytest.raises(ConfigError, match="more than 10 bytes"):
        secret(tmp_path, {"command": ["/usr/bin/printf", "x" * 11]})


# ---- env


def test_a_variable(tmp_path):
    assert secret(tmp_path, {"env": "MY_SECRET"}, {"MY_SECRET": "hunter2\n"}) == "hunter2"


@pytest.mark.parametrize("env", [{}, {"MY_SECRET": ""}])
def test_a_variable_that_is_not_set(tmp_path, env):
    with pytest.raises(ConfigError, match="from env 'MY_SECRET' is empty"):
        secret(tmp_path, {"env": "MY_SECRET"}, env)


# ---- file


def written(path, text="hunter2\n", mode=0o600):
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def test_a_file(tmp_path):
    assert secret(tmp_path, {"file": written(tmp_path / "secret")}) == "hunter2"


def test_a_relative_file_is_beside_the_configuration(tmp_path):
    written(tmp_path / "secret")
    assert secret(tmp_path, {"file": "secret"}) == "hunter2"


def test_a_file_in_the_home_directory(tmp_path):
    written(tmp_path / "secret")
    assert secret("/elsewhere", {"file": "~/secret"}, {"HOME": str(tmp_path)}) == "hunter2"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_a_file_that_others_can_read_is_refused_with_the_command_to_run(tmp_path, mode):
    path = written(tmp_path / "the secret", mode=mode)
    with pytest.raises(ConfigError) as caught:
        secret(tmp_path, {"file": path})
    assert f"chmod 600 '{path}'" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        secret(tmp_path, {"file": "nothing"})


def test_a_pipe_is_nobody_elses(tmp_path):
    reader, writer = os.pipe()
    os.write(writer, b"hunter2\n")
    os.close(writer)
    assert secret(tmp_path, {"file": f"/dev/fd/{reader}"}) == "hunter2"
    os.close(reader)


# ---- keyring


@pytest.fixture
def keyring(monkeypatch):
    module = types.ModuleType("keyring")
    known = {("imap/work", "me"): "hunter2"}
    module.get_password = lambda service, user: known.get((service, user))
    monkeypatch.setitem(sys.modules, "keyring", module)
    return module


def test_a_password_of_the_keyring(tmp_path, keyring):
    assert secret(tmp_path, {"keyring": "imap/work/me"}) == "hunter2"


def test_a_password_that_the_keyring_lacks(tmp_path, keyring):
    with pytest.raises(ConfigError, match="no password of 'you' for 'imap/work'"):
        secret(tmp_path, {"keyring": "imap/work/you"})


@pytest.mark.parametrize("value", ["service", "/user", "service/"])
def test_a_keyring_reference_has_service_and_user(tmp_path, keyring, value):
    with pytest.raises(ConfigError, match='keyring takes "service/user"'):
        secret(tmp_path, {"keyring": value})


def test_a_keyring_that_fails_is_a_message(tmp_path, keyring):
    def locked(service, user):
        raise RuntimeError("the keyring\nis locked")

    keyring.get_password = locked
    with pytest.raises(ConfigError, match=r"the keyring failed: the keyring\\nis locked"):
        secret(tmp_path, {"keyring": "service/user"})


def test_without_the_extra_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(ConfigError, match=r"pip install 'cftool\[keyring\]'"):
        secret(tmp_path, {"keyring": "service/user"})


def test_a_path_in_a_command_to_run_drives_no_terminal():
    assert secrets.quoted("a b\n\x1b") == "'a b\\n\\x1b'"
