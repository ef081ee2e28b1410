"""`cftool help [COMMAND]`: what `--help` shows."""

from typing import Annotated, Any

from typer import Argument

from cftool.cli.session import Session
from cftool.core.errors import ConfigError


def help_(session: Session, command: Annotated[list[str] | None, Argument(metavar="[COMMAND]...")] = None) -> None:
    """Show the help of a command."""
    from cftool.cli import app, elsewhere

    found: Any = app.root()
    context = found.make_context("cftool", [], resilient_parsing=True)
    for word in command or []:
        names = found.list_commands(context) if isinstance(found, app.Group) else []
        if word not in names:
            raise ConfigError(elsewhere.command(word, names))
        found = found.get_command(context, word)
        context = found.make_context(word, [], parent=context, resilient_parsing=True)
    text = found.get_help(context)
    if session.out.json:
        session.out.event("help", {"command": " ".join(command or []), "text": text})
    else:
        session.out.line(text)
