"""The pattern language: what each form matches, what is no pattern, and that no pattern takes long."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cftool.transfer import patterns, regex
from cftool.transfer.automaton import Automaton
from cftool.transfer.regex import PatternError


def matches(pattern: str, path: str) -> bool:
    automaton = Automaton([patterns.tree(pattern)])
    return automaton.matched(automaton.run(automaton.start, path)) == 0


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("file.jpg", ["file.jpg", "d/file.jpg"], ["afile.jpg", "d/afile.jpg", "file.jpg/x", "fileXjpg"]),
        ("/file.jpg", ["file.jpg"], ["d/file.jpg"]),
        ("*.jpg", [".jpg", "a.jpg", "d/a.jpg"], ["a.jpgx", "a.png"]),
        ("/*.jpg", ["a.jpg"], ["d/a.jpg"]),
        ("dir/**", ["dir/x", "s/dir/t/x"], ["dir", "adir/x"]),
        ("/a**c", ["ac", "a/b/c", "axc"], ["b/ac", "a/b"]),
        ("/a*/b", ["a/b", "ax/b"], ["a/x/b"]),
        ("*.t?t", ["a.txt", "d/a.tzt"], ["a.qxt", "a.t/t"]),
        ("[a-c]", ["a", "d/b"], ["d", "ab"]),
        ("[^a-c]", ["d", "-"], ["a"]),
        ("[!a]", ["!", "a"], ["b"]),  # as rclone does, not as its documentation says
        ("[[:digit:]x]", ["1", "x"], ["y"]),
        ("[a-]", ["-", "a"], ["b"]),
        (r"[\[\]]", ["[", "]"], ["x"]),
        (r"*.\d\d", ["a.01"], ["a.0x"]),
        (r"\*", ["*"], ["a"]),
        (r"\\", ["\\"], ["a"]),
        ("*.{jpg,png}", ["a.jpg", "d/a.png"], ["a.gif"]),
        ("{a,b{c,d}}", ["a", "bc", "bd"], ["b", "ac"]),
        ("a,b", ["a,b"], ["a", "b"]),
        ("{a,}x", ["ax", "x"], ["bx"]),
        ("*.{{jpe?g}}", ["a.jpg", "a.jpeg"], ["a.jpeeg"]),
        (r"/{{\d{3}}}", ["123"], ["1234", "d/123"]),
        (r"{{\}}}", ["}"], ["{"]),
        (r"\{{{a|b}}", ["{a", "{b"], ["a"]),
        ("*.{{(?i)jpg}}", ["a.JPG", "a.jpg"], ["a.png"]),
        ("/{{start.*end}}", ["start/x/end"], ["start"]),
        ("a+(b)|^$.c", ["a+(b)|^$.c"], ["aab"]),
        ("**", ["a", "a/b", "a\nb"], []),
        ("*", ["a", "d/a"], []),
        ("", [], ["a"]),
        ("é?", ["éx", "é日"], ["é"]),
        ("?", ["\udcff"], ["\udcff\udcfe"]),
    ],
)
def test_what_a_pattern_matches(pattern, yes, no):
    assert [path for path in (*yes, *no) if matches(pattern, path)] == yes


@pytest.mark.parametrize(
    "pattern",
    ["a***", "[a", "a]", "{a", "a}", "{{a", "{{(}}", "{{a)(b}}", "[a--b]", "[z-a]", "a\\", r"\y", "{{a**}}", "{{*a}}",
     "{{a{2000}}}", r"{{\1}}", "{{(?=a)}}", "{{[[:nope:]]}}", r"{{\p{Nope}}}", r"{{\x{110000}}}", "{{(?m-q)a}}",
     "{{(?P<a b>x)}}", "{{a{3,1}}}", "{{" + "(" * 300 + ")" * 300 + "}}", "{{((a{1000}){1000})}}", "{{\\xg0}}",
     "{{[a}}", r"{{\p{L}}", r"{{\}}"],
)  # fmt: skip
def test_what_is_no_pattern(pattern):
    with pytest.raises(PatternError):
        Automaton([patterns.tree(pattern)])


@pytest.mark.parametrize(
    ("expression", "yes", "no"),
    [
        (r"\Aa\z", ["a"], ["b"]),
        (r"a|b$", ["a", "b"], ["c"]),
        (r"a\b.b\B.", ["a-bc"], ["axbc", "a-b-"]),
        (r"(?s)a.b", ["a\nb"], ["ab"]),
        (r"a.b", ["axb"], ["a\nb"]),
        (r"(?m)a$\n^b", ["a\nb"], ["a\nc"]),
        (r"(?m)a$b", [], ["ab"]),
        (r"(?i:a)b", ["Ab", "ab"], ["AB"]),
        (r"(?P<name>a)(?<other>b)(?:c)", ["abc"], ["ab"]),
        (r"a{2}b{1,}c{0,2}", ["aab", "aabbcc"], ["ab", "aabccc"]),
        (r"a{b", ["a{b"], ["a"]),
        (r"a*?b+?c??", ["b", "aabbc"], ["a"]),
        (r"\Qa.b*\E+", ["a.b*", "a.b**"], ["axb"]),
        (r"\Qa", ["a"], ["b"]),
        (r"\x41\x{e9}\101\n\t", ["A\u00e9A\n\t"], ["A"]),
        (r"\pL\p{Lu}\PL\p{^L}\p{Any}", ["aB1-\0"], ["ab1-x"]),
        (r"[\d\-x]+[^\w]", ["1-x!"], ["1a!", "1x"]),
        (r"[[:^alpha:]a]", ["a", "1"], ["b"]),
        (r"[]a]", ["]", "a"], ["b"]),
        (r"[^]a]", ["b"], ["]"]),
        (r"(?i)[a-c]É", ["Bé"], ["Dé"]),
        (r"[[:word:]][[:xdigit:]][[:punct:]]", ["_f!"], ["-f!"]),
        (r"(a*)*b", ["b", "aab"], ["a"]),
        (r"(|a)b", ["b", "ab"], ["a"]),
        (r"\D\S\W", ["a!-"], ["1!-"]),
        (r"\Q\Ea", ["a"], ["b"]),
        (r"(?i)[^a]", ["b", "é"], ["A"]),
        (r"[^\x{0}-\x{10ffff}]|a", ["a"], ["b"]),
        (r"(?U-i)a", ["a"], ["A"]),
        (r"\01", ["\x01"], ["1"]),
    ],
)
def test_regular_expressions_are_those_of_re2(expression, yes, no):
    automaton = Automaton([regex.parse(expression)])
    found = [text for text in (*yes, *no) if automaton.matched(automaton.run(automaton.start, text)) == 0]
    assert found == yes


# ---- against a reference that tries everything

LETTERS = "ab/."


@st.composite
def parts(draw, depth=2):
    """A pattern as tokens: what it is written as, and what a naive matcher understands."""
    kinds = ["char", "?", "*", "**", "set", "not"] + (["either"] if depth else [])
    found = []
    for kind in draw(st.lists(st.sampled_from(kinds), max_size=5)):
        if kind in {"*", "**"} and found and found[-1][0] in {"*", "**"}:
            continue
        if kind == "char":
            found.append((kind, draw(st.sampled_from(LETTERS))))
        elif kind in {"set", "not"}:
            found.append((kind, draw(st.sampled_from(["a", "ab", "."]))))
        elif kind == "either":
            found.append((kind, draw(st.lists(parts(depth=depth - 1), min_size=1, max_size=3))))
        else:
            found.append((kind, ""))
    return found


def written(tokens) -> str:
    text = ""
    for kind, value in tokens:
        if kind == "either":
            inner = ",".join(written(one) for one in value)
            text += "{" + ("" if not inner.startswith("{") else "a,") + inner + "}"
        else:
            text += {"char": value, "set": f"[{value}]", "not": f"[^{value}]"}.get(kind, kind)
    return text


def ends(tokens, text: str, start: int) -> set[int]:
    """Where a match from `start` may end, by trying all there is."""
    if not tokens:
        return {start}
    (kind, value), rest = tokens[0], tokens[1:]
    if kind in {"*", "**"}:
        found = set()
        for stop in range(start, len(text) + 1):
            if kind == "*" and "/" in text[start:stop]:
                break
            found |= ends(rest, text, stop)
        return found
    if kind == "either":
        alternatives = ([[("char", "a")]] if written(value[0]).startswith("{") else []) + value
        return {stop for one in alternatives for middle in ends(one, text, start) for stop in ends(rest, text, middle)}
    if start == len(text):
        return set()
    char = text[start]
    fits = {
        "char": char == value,
        "?": char != "/",
        "set": char in value,
        "not": char not in value,
    }[kind]
    return ends(rest, text, start + 1) if fits else set()


def first_written(value) -> str:
    return ",".join(written(one) for one in value)


@given(parts(), st.text(LETTERS, max_size=8), st.booleans())
def test_an_automaton_agrees_with_trying_everything(tokens, text, rooted):
    for kind, value in tokens:
        if kind == "either" and first_written(value).startswith("{"):
            return  # `{{` is a regular expression
    pattern = written(tokens)
    if rooted or pattern.startswith("/"):
        pattern = pattern if pattern.startswith("/") and not rooted else "/" + pattern
        tokens = tokens if rooted else tokens[1:]
        starts = [0]
    else:
        starts = [0] + [place + 1 for place, char in enumerate(text) if char == "/"]
    expected = any(len(text) in ends(tokens, text, start) for start in starts)
    assert matches(pattern, text) is expected


@given(st.lists(st.sampled_from(["a", "*", "?", "[ab]", "**/", "b", "{a,b}", ".{{a+}}"]), max_size=6))
def test_several_patterns_at_once_match_as_each_does_alone(words):
    automaton = Automaton([patterns.tree(word) for word in words])
    for path in ("a", "b", "x/a", "ab", ".aa", "a/b/", "\n"):
        alone = [number for number, word in enumerate(words) if matches(word, path)]
        assert automaton.matched(automaton.run(automaton.start, path)) == min(alone, default=-1)


# ---- time and space


class Counting(Automaton):
    made = 0

    def _made(self, state, char):
        self.made += 1
        return super()._made(state, char)


@pytest.mark.parametrize("pattern", ["*a*a*a*a*a*a*a*a*a*b", "{{(a*)*(a|aa)+$b}}", "**a**a**a**a/b", "{{(a|a)*c}}"])
def test_what_would_take_a_backtracking_matcher_for_ever_is_linear(pattern):
    automaton = Counting([patterns.tree(pattern)])
    assert automaton.matched(automaton.run(automaton.start, "a" * 100_000)) == -1
    assert automaton.made < 200  # work is done once for each set of places; the rest are look-ups


def test_an_automaton_that_grows_too_large_is_made_anew(monkeypatch):
    from cftool.transfer import automaton as module

    monkeypatch.setattr(module, "_REMEMBERED", 200)
    automaton = Automaton([patterns.tree("**a??????")])
    for number in range(200):
        text = f"{number:b}".replace("1", "a").replace("0", "b") + "bbbbbb"
        expected = 0 if len(text) > 6 and text[-7] == "a" else -1
        assert automaton.matched(automaton.run(automaton.start, text)) == expected
    assert automaton.generation > 0
    assert len(automaton._states) < 50
