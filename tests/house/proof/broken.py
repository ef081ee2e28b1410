"""Takes one thing away from the program, in this process: `sync --checksum`, `mkdir`, `event copy`, `exit 6`."""

import inspect
import os
from typing import Any

VARIABLE = "PROOF_WITHOUT"  # no setting of cftool, which tests would clear
_NO_CODE = 99


def apply(what: str) -> None:
    """Take `what` away, for good. A flag with ! is not forgotten but refused, for those that may be without effect."""
    os.environ[VARIABLE] = what  # for children
    refused = what.endswith("!")
    what = what.removesuffix("!")
    kind, _, rest = what.partition(" ")
    if kind == "event":
        _without_event(rest)
    elif kind == "exit":
        _without_code(int(rest))
    else:
        words = what.split()
        flag = words.pop() if words[-1].startswith("-") else None
        _without(" ".join(words), flag, refused=refused)


def _without_event(name: str) -> None:
    from cftool.cli.output import Output

    write = Output.event

    def event(self: Any, event: str, fields: Any) -> None:
        if event != name:
            write(self, event, fields)

    Output.event = event  # type: ignore[method-assign]


def _without_code(code: int) -> None:
    from cftool.cli import app

    run = app.run

    def changed(*words: Any, **named: Any) -> int:
        got = run(*words, **named)
        return _NO_CODE if got == code else got

    app.run = changed  # below `main`, which in a process of its own never returns


def _without(command: str, flag: str | None, *, refused: bool) -> None:
    from cftool.cli import command as module

    flatten = module._flatten

    def broken(function: Any) -> Any:
        run = flatten(function)
        signature = run.__signature__

        def forgetful(**values: Any) -> int:
            context = values["context"]
            path = context.command_path.partition(" ")[2]
            if command in {"", path}:
                if flag is None:
                    return 0
                params = [param for param in context.command.params if flag in (*param.opts, *param.secondary_opts)]
                for param in params:
                    if refused and values[param.name] not in (None, False, [], ()):
                        return 2
                    default = signature.parameters[param.name].default
                    values[param.name] = getattr(default, "default", default) if _is_typer(default) else default
                    order = context.meta.get(module.ORDER, ())
                    context.meta[module.ORDER] = tuple(name for name in order if name != param.name)
                    if param.multiple:
                        values[param.name] = []
            return run(**values)

        forgetful.__signature__ = inspect.Signature(list(signature.parameters.values()))  # type: ignore[attr-defined]
        forgetful.__annotations__ = {}
        forgetful.__doc__ = run.__doc__
        return forgetful

    module._flatten = broken


def _is_typer(default: Any) -> bool:
    return type(default).__module__.startswith("typer")
