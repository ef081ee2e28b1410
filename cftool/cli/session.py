"""One run of one command: its output, messages, signals, log, configuration and open stores, and how it ends.

`Session.run` is the boundary: whatever a command raises becomes one line on standard error (with `--json` an event as
well) and an exit code, never a traceback. Configuration and stores are opened when they are first asked for.
"""

import gc
import os
import time
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING

from cftool.cli import exits
from cftool.cli.messages import Messages, explain
from cftool.cli.options import Common
from cftool.cli.output import Output, OutputError
from cftool.cli.signals import Interrupts
from cftool.core.errors import CftoolError, ConfigError, Interrupted, NotFound, kind_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cftool.cli.logs import Logs
    from cftool.config.address import Address
    from cftool.config.file import Config, KnownNames
    from cftool.core.provider import Pace
    from cftool.stack import OpenContext, Opened
    from cftool.transfer.options import Surroundings


class Session:
    """What a command works with."""

    def __init__(self, common: Common) -> None:
        self.common = common
        self.env = os.environ
        self.messages = Messages(0 if common.quiet else 1 + min(common.verbose, 2))
        self.out = Output(json=common.json)
        self.requests: Counter[str] = Counter()
        self.name = ""
        self.read_only = False
        self.connections: int | None = None
        self.pace: Pace | None = None
        self.stats: float | None = None  # seconds between two lines of --stats
        self.metrics_file: str | None = None
        self.deletes = True  # False: nothing is deleted because a listing does not name it
        self.interrupts = Interrupts(self.messages.info, self._leave)
        self.on_leave: Callable[[], object] | None = None
        self._closing = ExitStack()
        self._config: Config | None = None
        self._logs: Logs | None = None

    @classmethod
    def run(cls, common: Common, call: "Callable[[Session], int | None]", *, name: str = "") -> int:
        """Run `call` in a new session; returns the exit code. `name`: that of the command, for reports."""
        session = cls(common)
        session.name = name
        try:
            with session.interrupts, session._closing:
                session._start_log()
                gc.freeze()  # what start-up made stays: no collection has to look at it again
                gc.enable()
                code = call(session) or exits.DONE
            session.out.flush()
            if session._logs is not None and session._logs.failed:
                code = exits.worst((code, exits.FAILED))
        except BaseException as error:
            code = session._failed(error)
        return code

    # ---- what a command asks for

    @property
    def config(self) -> "Config":
        """The configuration, read once."""
        if self._config is None:
            from cftool.config import file

            self._config = file.load(self.common.config, self.env)
        return self._config

    def taken(self) -> "Mapping[str, object]":
        """The remotes by name, for who makes one: a file of --config that is not there yet has none."""
        from cftool.config import dirs

        named = self.common.config or self.env.get("CFTOOL_CONFIG")
        if named and not os.path.lexists(dirs.config_path(self.env, self.common.config)):
            return {}
        return self.config.remotes

    def without_colon(self, text: str | None) -> str | None:
        """The remote that `text` would name with a colon, where it is a path of this machine that is not there."""
        name, slash, rest = (text or "").partition("/")
        if not name or ":" in name or name.startswith(".") or os.path.lexists(name):
            return None
        try:
            known = name in self.config.remotes
        except ConfigError:
            return None  # told where it is needed
        return f"{name}:{slash and rest}" if known else None

    def warn_of_local(self, text: str) -> None:
        """Say that a new path of this machine is called as a remote is: the colon may be forgotten."""
        meant = self.without_colon(text)
        if meant is not None:
            self.messages.warn(f"{text} is a path on this machine; the remote is written {meant}")

    def reload(self) -> None:
        """The configuration was changed: read it anew."""
        self._config = None

    def open(self, text: str, *, follow: bool = True, cached: bool = False) -> "Opened":
        """The store and path of an address; closed at the end of the session. `follow` a link that it may be itself.

        `cached`: only looked at, so that the remote's metadata cache may answer, where one is configured.
        """
        from cftool import stack

        parsed = self.parse(text)
        config = self._empty() if parsed.remote is None else self.config
        opened = stack.open_address(parsed, config, context=self.context(fresh=not cached), follow=follow)
        self._closing.callback(opened.store.close)
        return opened

    def context(self, *, fresh: bool = True) -> "OpenContext":
        """What a stack is opened with. `fresh`: nothing is answered from a metadata cache."""
        from cftool.config import dirs
        from cftool.stack import OpenContext

        return OpenContext(
            env=self.env,
            requests=self.requests,
            state_dir=dirs.state_dir(self.env),
            connections=self.connections,
            read_only=self.read_only,
            transport=None,
            cancelled=self.interrupts.stopping,
            pace=self.pace,
            deletes=self.deletes and not self.read_only,
            fresh=fresh,
        )

    def parse(self, text: str) -> "Address":
        """What an address names; of a local path the configuration is not even read."""
        from cftool.config import address

        local = ":" not in text.partition("/")[0]
        return address.parse(text, remotes=() if local else self._remotes())

    @staticmethod
    def needs_directory(opened: "Opened", otherwise: str) -> None:
        """Refuse a file where seeing it costs no request; of a service the engine's listing tells soon enough."""
        if opened.store.features.remote:
            return
        try:
            entry = opened.store.stat(opened.path)
        except CftoolError:
            return  # the engine says it better
        if not entry.is_dir:
            raise ConfigError(f"{opened.address.text} is a file; {otherwise}")

    def _remotes(self) -> "KnownNames":
        from cftool import registry

        return self.config.known(registry.installed())

    def _empty(self) -> "Config":
        from cftool.config.file import Config

        return Config("", self.env)

    def surroundings(self) -> "Surroundings":
        """What the engine needs besides the sides."""
        from cftool.config import dirs
        from cftool.transfer.options import Surroundings

        return Surroundings(state_dir=dirs.state_dir(self.env), now=time.time, cancelled=self.interrupts.cancelled)

    # ---- how it ends

    def report(self, error: BaseException, where: str | None = None) -> int:
        """Tell of an error that does not end the command, and return its code. `where`: the address that was typed."""
        text = explain(error, where)
        meant = self.without_colon(where or error.place) if isinstance(error, NotFound) else None
        if meant is not None:
            text = f"{text}; the remote is written {meant}"
        if self.out.json:
            self.out.event(
                "error", {"path": getattr(error, "path", None) or "", "kind": kind_of(error), "message": text}
            )
        self.messages.error(text)
        return exits.of_error(error)

    def _failed(self, error: BaseException) -> int:
        if isinstance(error, BrokenPipeError):
            self.out.abandon()
            return exits.BROKEN_PIPE
        if isinstance(error, SystemExit):
            return error.code if isinstance(error.code, int) else exits.FAILED
        if isinstance(error, KeyboardInterrupt | Interrupted):
            self.messages.error("interrupted")
            self._flush_quietly()
            return exits.INTERRUPTED
        if isinstance(error, OutputError):
            self.out.abandon()
            self.messages.error(explain(error))
            return exits.FAILED
        if isinstance(error, CftoolError | OSError):
            code = self.report(error)
        else:
            code = self._internal(error)
        self._flush_quietly()
        return code

    def _internal(self, error: BaseException) -> int:
        from cftool.http.redact import redact

        text = redact(explain(error))
        if self.out.json:
            self.out.event("error", {"path": "", "kind": "internal", "message": text})
        self.messages.error(f"internal error: {text}; please report it (-vv shows the traceback)")
        if self.common.verbose > 1 or self.env.get("CFTOOL_TRACEBACK"):
            import traceback

            for line in redact("".join(traceback.format_exception(error))).splitlines():
                self.messages.write(line)
        return exits.FAILED

    def _flush_quietly(self) -> None:
        try:
            self.out.flush()
        except (OSError, CftoolError):
            self.out.abandon()

    def _start_log(self) -> None:
        from cftool.cli.logs import Logs

        self._logs = Logs(self.messages, path=self.common.log_file, form=self.common.log_format)
        self._closing.enter_context(self._logs)

    def _leave(self) -> None:
        if self.on_leave is not None:
            self.on_leave()
