"""The generated parts of README.md, man/ and completions/: `--write` renews them, `--check` fails where they are stale.

A part stands between `<!-- generated: NAME -->` and `<!-- end -->`. It comes from what the program itself uses: the
table of commands, the options that a provider declares, and the last run of the benchmark.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
MEASURED = ROOT / "tests/bench/RESULTS.md"
PART = re.compile(r"(<!-- generated: ([a-z0-9-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def commands() -> str:
    """The commands with their short help."""
    from cftool.cli.app import COMMANDS, GROUPS

    lines = ["| command | |", "|---|---|"]
    for name, row in COMMANDS.items():
        words = f" ({', '.join(f'`{word}`' for word in GROUPS[name])})" if name in GROUPS else ""
        lines.append(f"| `cftool {name}` | {row[2]}{words} |")
    return "\n".join(lines) + "\n\n`cftool COMMAND --help` has the flags.\n"


def options(provider: str) -> str:
    """The options that a provider declares."""
    from cftool import registry

    lines = ["| option | default | |", "|---|---|---|"]
    for option in registry.provider(provider).options:
        default = "" if option.default in {None, ""} else f"`{str(option.default).lower()}`"
        choices = f" ({', '.join(option.choices)})" if option.choices else ""
        lines.append(f"| `{option.name}` | {default} | {option.help}{choices}{' (secret)' if option.secret else ''} |")
    return "\n".join(lines) + "\n"


def measured() -> str:
    """The bars of the last benchmark, with where they come from."""
    if not MEASURED.exists():
        return "Figures are measured with `make bench`.\n"
    text = MEASURED.read_text()
    facts = dict(re.findall(r"^- (\w+): (.*)$", text, re.MULTILINE))
    table = text.partition("## Bars\n\n")[2].partition("\n\n## ")[0].strip()
    day = facts["date"].partition(",")[0]
    return (
        f"Measured on {day} with {facts['command']} on {facts['machine']}; {facts['versions']}; server: "
        f"{facts['server']}. All tables are in [tests/bench/RESULTS.md](tests/bench/RESULTS.md).\n\n{table}\n"
    )


PARTS = {
    "commands": commands,
    "s3-options": lambda: options("s3"),
    "dropbox-options": lambda: options("dropbox"),
    "webdav-options": lambda: options("webdav"),
    "sugarsync-options": lambda: options("sugarsync"),
    "gdrive-options": lambda: options("gdrive"),
    "gs-options": lambda: options("gs"),
    "measured": measured,
}


def renewed(text: str) -> str:
    """`text` with every generated part made anew."""
    return PART.sub(lambda match: match[1] + PARTS[match[2]]() + match[3], text)


def stale() -> dict[str, str | None]:
    """What is not in the tree as it is made now, by path; None: a page of something that is gone."""
    from tests.house import manual

    made: dict[str, str | None] = {"README.md": renewed(README.read_text()), **manual.files()}
    for folder in ("man", "completions"):
        made |= {found: None for path in ROOT.glob(f"{folder}/*") if (found := str(path.relative_to(ROOT))) not in made}
    return {name: text for name, text in made.items() if text is None or _read(name) != text}


def _read(name: str) -> str | None:
    path = ROOT / name
    return path.read_text() if path.exists() else None


def main(arguments: list[str]) -> int:
    """Check or write; 1 where something is stale."""
    if arguments not in (["--check"], ["--write"]):
        print("usage: python -m tests.house.docs --check | --write", file=sys.stderr)
        return 2
    found = stale()
    for name, text in found.items():
        if arguments == ["--check"]:
            print(f"{name}: stale; run `make docs`", file=sys.stderr)
        elif text is None:
            (ROOT / name).unlink()
        else:
            (ROOT / name).parent.mkdir(exist_ok=True)
            (ROOT / name).write_text(text)
    return int(bool(found) and arguments == ["--check"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
