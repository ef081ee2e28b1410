"""Where things of this user are: the configuration and the state. From the environment that is passed in.

Works without HOME too (cron, `env -i`): the password database knows the home directory then.
"""

import os
import pwd
from collections.abc import Mapping

from cftool.core.errors import ConfigError


def home_dir(env: Mapping[str, str]) -> str:
    """The user's home directory."""
    home = env.get("HOME", "")
    if home.startswith("/"):
        return home
    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:  # a container's user without an entry
        raise ConfigError("no home directory is known: set HOME, or give --config") from None


def expand(path: str, env: Mapping[str, str]) -> str:
    """`path` with a leading `~/` replaced."""
    return home_dir(env) + path[1:] if path == "~" or path.startswith("~/") else path


def config_path(env: Mapping[str, str], flag: str | None = None) -> str:
    """The configuration file: `--config`, else $CFTOOL_CONFIG, else $XDG_CONFIG_HOME/cftool/config.toml."""
    chosen = flag or env.get("CFTOOL_CONFIG")
    if chosen:
        return expand(chosen, env)
    return os.path.join(_xdg(env, "XDG_CONFIG_HOME", ".config"), "cftool", "config.toml")


def state_dir(env: Mapping[str, str]) -> str:
    """Tokens, locks, what was seen equal, caches with what is not uploaded: to be kept. May not exist yet."""
    return os.path.join(_xdg(env, "XDG_STATE_HOME", ".local/state"), "cftool")


def _xdg(env: Mapping[str, str], variable: str, default: str) -> str:
    # The XDG specification has relative values ignored.
    value = env.get(variable, "")
    return value if value.startswith("/") else os.path.join(home_dir(env), default)
