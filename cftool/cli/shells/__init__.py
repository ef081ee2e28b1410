"""Completion scripts for bash, zsh and fish: `spec` reads the table of commands, one module a shell writes the script.

Commands and flags stand in the script; remotes and what is on them are asked of `cftool __complete` (cli/complete.py).
`script(shell)` is all that anybody calls: `cftool completion`, and whoever writes the scripts into a package.
"""

SHELLS = {"bash": "cftool.bash", "zsh": "_cftool", "fish": "cftool.fish"}  # and what a package calls the file


def script(shell: str) -> str:
    """The completion script for one of SHELLS; KeyError for any other."""
    from importlib import import_module

    from cftool.cli.shells import spec

    if shell not in SHELLS:
        raise KeyError(shell)
    written: str = import_module(f"cftool.cli.shells.{shell}").script(spec.commands())
    return written
