"""Near misses for messages: "unknown option 'endpont_url'; did you mean 'endpoint_url'?"."""

from collections.abc import Iterable


def hint(wrong: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?`, or nothing where no name is near."""
    from difflib import get_close_matches

    near = get_close_matches(wrong.lower(), list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def unknown(what: str, wrong: str, known: Iterable[str]) -> str:
    """The sentence that refuses a name: its near miss, or all that there are where they are few."""
    names = sorted(known)
    near = hint(wrong, names)
    return f"unknown {what} {wrong!r}{near or (': known are ' + ', '.join(names) if names else '')}"
