"""The flags that several commands share, declared once. Those of the engine are in `transfer_flags`.

Every value is a bool, a count or a text here; what reads the texts names the flag where one is wrong.
"""

from typing import Annotated

from typer import Option

from cftool.core.dataclass import dataclass

Text = str | None


@dataclass(frozen=True)
class Common:
    """What every command understands, before or after its name."""

    config: Annotated[Text, Option("--config", metavar="FILE", help="The configuration file.")] = None
    quiet: Annotated[bool, Option("-q", "--quiet", help="Errors only.")] = False
    verbose: Annotated[int, Option("-v", "--verbose", count=True, show_default=False, help="Say more.")] = 0
    json: Annotated[bool, Option("--json", help="JSON Lines on standard output.")] = False
    log_file: Annotated[Text, Option("--log-file", metavar="FILE", help="Append what happens to FILE.")] = None
    log_format: Annotated[Text, Option("--log-format", metavar="text|json", help="The form of the log file.")] = None


@dataclass(frozen=True)
class DryRun:
    """For the commands that change something but do not compare."""

    dry_run: Annotated[bool, Option("-n", "--dry-run", help="Show what would be done; change nothing.")] = False


@dataclass(frozen=True)
class Recursive:
    """For cp and rm."""

    recursive: Annotated[bool, Option("-r", "-R", "--recursive", help="Directories with all below them.")] = False
