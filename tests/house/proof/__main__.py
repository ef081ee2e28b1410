"""See the package."""

import sys

import pytest

from tests.house.proof import plugin
from tests.house.shown import SHOWN


def main(words: list[str]) -> int:
    """Exit code 1 where a row does not hold."""
    plugin.ROWS += [(what, test) for what, test in SHOWN.items() if not words or any(word in what for word in words)]
    files = sorted({test.partition("::")[0] for _, test in plugin.ROWS})
    pytest.main(["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--no-header", *files], plugins=[plugin])
    print(f"{len(plugin.ROWS)} rows, {len(plugin.WRONG)} that do not hold")
    for line in plugin.WRONG:
        print(f"  {line}")
    return 1 if plugin.WRONG else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
