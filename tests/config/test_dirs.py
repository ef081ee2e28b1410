"""Where things are, also without HOME, as under cron or `env -i`."""

import os
import pwd

import pytest

from cftool.config import dirs
from cftool.core.errors import ConfigError


def test_the_xdg_directories():
    env = {"HOME": "/h", "XDG_CONFIG_HOME": "/c", "XDG_STATE_HOME": "/s", "XDG_CACHE_HOME": "/k"}
    assert dirs.config_path(env) == "/c/cftool/config.toml"
    assert dirs.state_dir(env) == "/s/cftool"


@pytest.mark.parametrize("value", ["", "relative/dir"])
def test_the_defaults_below_home_also_where_xdg_is_relative(value):
    env = {"HOME": "/h", "XDG_CONFIG_HOME": value, "XDG_STATE_HOME": value}
    assert dirs.config_path(env) == "/h/.config/cftool/config.toml"
    assert dirs.state_dir(env) == "/h/.local/state/cftool"


@pytest.mark.parametrize("env", [{}, {"HOME": ""}, {"HOME": "relative"}])
def test_without_home_the_password_database_knows(env):
    assert dirs.home_dir(env) == pwd.getpwuid(os.getuid()).pw_dir


def test_a_user_without_a_home_is_told_what_to_do(monkeypatch):
    def unknown(uid):
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    with pytest.raises(ConfigError, match="set HOME, or give --config"):
        dirs.state_dir({})
    assert dirs.config_path({}, "/x.toml") == "/x.toml"


def test_the_flag_wins_over_the_variable_and_that_over_the_default():
    env = {"HOME": "/h", "CFTOOL_CONFIG": "/variable.toml"}
    assert dirs.config_path(env, "/flag.toml") == "/flag.toml"
    assert dirs.config_path(env) == "/variable.toml"
    assert dirs.config_path({"HOME": "/h", "CFTOOL_CONFIG": ""}) == "/h/.config/cftool/config.toml"


@pytest.mark.parametrize(("path", "whole"), [("~", "/h"), ("~/x", "/h/x"), ("~user/x", "~user/x"), ("/a/~", "/a/~")])
def test_a_tilde_is_home(path, whole):
    assert dirs.expand(path, {"HOME": "/h"}) == whole
