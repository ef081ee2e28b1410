"""`cftool config wizard`: a remote by questions and answers. What it asks comes from the provider's own data.

Nothing is written before the last answer, so that Ctrl-C at any question leaves everything as it was.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Annotated, TypeVar

from typer import Argument, Option

from cftool.cli import prompts
from cftool.cli.session import Session
from cftool.config.address import valid_name
from cftool.core.errors import ConfigError
from cftool.core.paths import printable
from cftool.core.provider import Option as Setting
from cftool.core.provider import Provider

_Answer = TypeVar("_Answer")

_TRIES = 10  # wrong answers to one question, before it is given up


def wizard(
    session: Session,
    name: Annotated[str | None, Argument(metavar="[NAME]")] = None,
    no_browser: Annotated[bool, Option("--no-browser", help="Log in without a browser on this machine.")] = False,
) -> int:
    """Define a remote by questions and answers, log in to it and test it."""
    from cftool.cli import cmd_config, cmd_config_login, cmd_config_test
    from cftool.config import dirs, edit

    path = dirs.config_path(session.env, session.common.config)
    taken = session.taken()
    chosen = _until(session, lambda: _name(session, name, taken), given=name is not None)
    provider = _until(session, lambda: _provider(session))
    values: dict[str, object] = {}
    session.messages.write("Enter leaves an option as it is by default.")
    for option in _asked(provider):
        answer = _until(session, partial(_value, session, provider, option))
        if answer is not None:
            values[option.name] = answer
    edit.create(path, chosen, provider.name, values)
    session.messages.info(f"created {chosen}: in {path}")
    session.reload()
    if cmd_config.needs_login(provider, values):
        cmd_config_login.login(session, chosen, no_browser=no_browser)
    return cmd_config_test.probe(session, chosen, write=False)


def _until(session: Session, ask: Callable[[], _Answer], *, given: bool = False) -> _Answer:
    """Ask again while the answer is wrong; `given`: it came with the command and cannot get better."""
    for _ in range(_TRIES):
        try:
            return ask()
        except _Wrong as error:
            if given:
                raise ConfigError(str(error)) from None
            session.messages.write(printable(f"  {error}"))
    raise ConfigError("no answer that can be used came; nothing was changed")


def _name(session: Session, given: str | None, taken: Mapping[str, object]) -> str:
    name = (given or prompts.ask(session, "Name of the new remote: ")).removesuffix(":")
    if not valid_name(name):
        raise _Wrong("letters, digits and _ . + @ - only, please")
    if name in taken:
        raise _Wrong(f"there is a remote {name} already")
    return name


def _provider(session: Session) -> Provider:
    from cftool import registry

    names = registry.names()
    for number, each in enumerate(names, 1):
        session.messages.write(f"{number:>3}  {each:<12} {registry.provider(each).summary}")
    answer = prompts.ask(session, "Provider (number or name): ")
    if answer.isascii() and answer.isdigit() and 1 <= int(answer) <= len(names):
        answer = names[int(answer) - 1]
    try:
        return registry.provider(answer)
    except ConfigError as error:
        raise _Wrong(str(error)) from None


def _asked(provider: Provider) -> Iterable[Setting]:
    """The options to ask for; what a login brings is not one."""
    from cftool.config import values

    brought = {"refresh_token", "access_token"} if provider.login is not None else set()
    options = [option for option in provider.options if option.name not in brought]
    root = [] if provider.option(values.ROOT.name) else [values.ROOT]
    return sorted([*options, *root], key=lambda option: not option.required)


def _value(session: Session, provider: Provider, option: Setting) -> object:
    """The value for the configuration file, None where the answer is empty."""
    from cftool.config import values

    question = f"{option.help} ({option.name}"
    if option.choices:
        question += f"; {', '.join(option.choices)}"
    if option.default is not None:
        shown = str(option.default).lower() if isinstance(option.default, bool) else option.default
        question += f"; default {shown}"
    question += "): "
    answer = prompts.ask_secret(session, question) if option.secret else prompts.ask(session, question)
    if not answer:
        if option.required:
            raise _Wrong(f"{provider.name} needs it")
        return None
    try:
        return values.assignment(provider, f"{option.name}={answer}")[1]
    except ConfigError as error:
        raise _Wrong(str(error)) from None


class _Wrong(Exception):
    """An answer that cannot be used."""
