"""Makes a typer command of a plain function, fast.

A command is `def ls(session: Session, flags: Flags, paths: ...) -> int`: a parameter whose type is a dataclass is
replaced by the fields of that class, so that shared flags are declared once; every command has the `Common` ones too.

typer validates each value with pydantic, which costs more to import than a whole listing takes. Our parameters are
booleans, counts and texts only (the module `options` reads numbers, sizes and durations, with its own messages), which
need no validation: `_AsTyped` stands in. Where a typer has no such hook it simply validates, slower.
"""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any, cast

from typer import Context
from typer.core import TyperCommand
from typer.main import get_command_from_info
from typer.models import CommandInfo

from cftool.cli.options import Common

ORDER = "cftool.order"
# Where -h says something else (ls, du, df), click leaves it to that.
HELP: dict[str, Any] = {"help_option_names": ["-h", "--help"]}


class _AsTyped:
    """Gives a value on as the parser made it."""

    @staticmethod
    def coerce(value: Any, param: Any, ctx: Any) -> Any:
        del ctx
        many = param.multiple or param.nargs == -1
        if value is None:
            return () if many else None
        return list(value) if many else value


def unvalidated(params: Any) -> Any:
    """These parameters, which take their values as the parser made them."""
    for param in params:
        cast("Any", param)._runtime_param = _AsTyped  # noqa: SLF001 - typer has no public way; see the module
    return params


class HelpInOrder:
    """Mixed into commands and groups: click takes the names of the help flag from a set, in another order each run."""

    def get_help_option_names(self, ctx: Any) -> list[str]:
        """Those that no other flag has taken, as they are written in `HELP`."""
        names = super().get_help_option_names(ctx)  # type: ignore[misc]
        return sorted(names, key=ctx.help_option_names.index)


class _Command(HelpInOrder, TyperCommand):
    """A command without validation by pydantic, and with the arguments in its help as their metavars write them.

    Where flags work in the order in which they stand (filters), the group of flags has a field `order`: it gets the
    names of the options as they came, one for each value.
    """

    def make_parser(self, ctx: Any) -> Any:
        parser = super().make_parser(ctx)
        parse = parser.parse_args

        def noting(args: list[str]) -> Any:
            options, rest, order = parse(args)
            ctx.meta[ORDER] = tuple(param.name for param in order)
            return options, rest, order

        parser.parse_args = noting  # type: ignore[method-assign] # each parser is made for one command line
        return parser

    def get_params(self, ctx: Any) -> Any:
        return unvalidated(super().get_params(ctx))

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        arguments = [param.metavar or param.name for param in self.get_params(ctx) if _is_argument(param)]
        return ["[OPTIONS]", *arguments]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        records = [param.get_help_record(ctx) for param in self.get_params(ctx) if not _is_argument(param)]
        with formatter.section("Options"):
            formatter.write_dl([record for record in records if record is not None])


def _is_argument(param: Any) -> bool:
    return bool(param.param_type_name == "argument")


def build(function: Callable[..., int | None], name: str) -> TyperCommand:
    """The typer command of `function`; its docstring is the help."""
    info = CommandInfo(
        name=name, cls=_Command, callback=_flatten(function), help=function.__doc__, context_settings=HELP
    )
    command = get_command_from_info(info, pretty_exceptions_short=False, rich_markup_mode=None)
    assert isinstance(command, TyperCommand)
    return command


def _flatten(function: Callable[..., int | None]) -> Callable[..., int]:
    """`function` with its flag classes spread out as keyword parameters, run inside a Session."""
    groups: dict[str, type[Any]] = {"": Common}
    flat: list[inspect.Parameter] = []
    own: list[str] = []
    parameters = list(inspect.signature(function).parameters.values())[1:]  # the first is the session
    for parameter in parameters:
        if dataclasses.is_dataclass(parameter.annotation):
            groups[parameter.name] = cast("type[Any]", parameter.annotation)
        else:
            own.append(parameter.name)
            flat.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
    for group in reversed(groups.values()):
        flat.extend(_spread(group))

    flat.append(inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=Context))

    def run(**values: Any) -> int:
        context = values.pop("context")
        values["order"] = context.meta.get(ORDER, ())
        from cftool.cli.session import Session

        taken = {name: group(**{f: values[f] for f in _fields(group)}) for name, group in groups.items()}
        common = taken.pop("")
        arguments = {**taken, **{name: values[name] for name in own}}
        return Session.run(common, lambda session: function(session, **arguments), name=context.info_name)

    run.__signature__ = inspect.Signature(flat)  # type: ignore[attr-defined]
    run.__annotations__ = {}
    run.__doc__ = function.__doc__
    return run


def _fields(group: type[Any]) -> list[str]:
    return [field.name for field in dataclasses.fields(group)]


def _spread(group: type[Any]) -> list[inspect.Parameter]:
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None if field.default is dataclasses.MISSING else field.default,
            annotation=field.type,
        )
        for field in dataclasses.fields(group)
        if field.name != "order"
    ]
