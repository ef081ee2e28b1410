"""`cftool completion SHELL`: the script that makes the shell complete commands, flags, remotes and remote paths."""

from typing import Annotated

from typer import Argument

from cftool.cli import shells
from cftool.cli.session import Session
from cftool.config.suggest import unknown
from cftool.core.errors import ConfigError


def completion(session: Session, shell: Annotated[str, Argument(metavar="SHELL")]) -> None:
    """Print the completion script of SHELL: bash, zsh or fish.

    bash: eval "$(cftool completion bash)" in ~/.bashrc. zsh: the same in ~/.zshrc, after compinit; or write it to a
    file _cftool in a directory of $fpath. fish: cftool completion fish > ~/.config/fish/completions/cftool.fish
    """
    if shell not in shells.SHELLS:
        raise ConfigError(unknown("shell", shell, shells.SHELLS))
    text = shells.script(shell)
    if session.out.json:
        session.out.event("completion", {"shell": shell, "script": text})
    else:
        session.out.line(text, end="")
