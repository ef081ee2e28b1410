"""Cases about names: each one that the rules allow is kept exactly; each other one is refused before any I/O."""

import unicodedata

import pytest

from cftool.core import paths
from cftool.core.errors import InvalidName, StoreError
from cftool.core.sources import BytesSource
from cftool.core.store import Store
from cftool.core.types import Cap
from cftool.testing.cases.base import Base, strictly_rising
from cftool.wrap.check import CheckStore

NAMES = (
    "plain.txt",
    "with space",
    " leading blank",
    "trailing blank ",
    " ",
    "tab\there",
    "\ttab first",
    "new\nline",
    "return\r",
    "control\x01\x1f",
    "delete\x7f",
    "next line\x85",
    "percent%20",
    "100%",
    "%2F",
    "%2e%2e",
    "%",
    "plus+plus",
    "hash#tag",
    "question?mark",
    "amp&ersand",
    "&amp;",
    "semi;colon",
    "colon:name",
    "equals=sign",
    "at@sign",
    "quote'single",
    'quote"double',
    "back\\slash",
    "\\",
    "pipe|",
    "<less>",
    "]]>",
    "star*",
    "~tilde~",
    "$dollar",
    "car^et",
    "com,ma",
    "brackets[1]",
    "braces{2}",
    "(parens)",
    "grave`",
    "exclamation!",
    "...",
    "..two first",
    "two last..",
    ".hidden",
    "trailing dot.",
    "-dash",
    "--",
    "-rf",
    "UPPER",
    "CON",
    "nul.txt",
    "0",
    "ünïcödé",
    unicodedata.normalize("NFC", "é-composed"),
    unicodedata.normalize("NFD", "é-decomposed"),
    "日本語",
    "العربية",
    "😀",
    "👩‍👩‍👧",
    "ß",
    "İ",
    "\u00a0",
    "zero\u200bwidth",
    "right\u202eleft",
    "line\u2028separator",
    "\ufeffbom",
    "\ufffd",
    "private\ue000",
    "a" * 255,
    "é" * 127,
    "surrogate\udcff",
)

REFUSED = ("/a", "a/", "a//b", ".", "..", "a/./b", "a/../b", "../a", "a/..", "nul\0byte")


class NameCases(Base):
    """See the module."""

    def test_each_name_allowed_is_kept_as_a_file(self, store: Store) -> None:
        allowed = [name for name in NAMES if paths.problem(name, store.features.names) is None]
        for name in allowed:
            assert self.put(store, name, name.encode("utf-8", "surrogateescape")).path == name
        listed = self.listing(store)
        assert sorted(listed) == sorted(allowed)
        for name in allowed:
            entry = store.stat(name)
            assert entry.path == name
            self.agree(listed[name], entry)
            assert self.get(store, name) == name.encode("utf-8", "surrogateescape")

    def test_each_name_allowed_is_kept_as_a_directory(self, store: Store) -> None:
        allowed = [name for name in NAMES if paths.problem(name + "/f", store.features.names) is None]
        for name in allowed:
            self.put(store, f"{name}/f")
        assert sorted(self.listing(store)) == sorted(allowed)
        for name in allowed:
            assert self.listing(store, name).keys() == {f"{name}/f"}

    def test_names_are_walked_in_order(self, store: Store) -> None:
        self.need(store, Cap.WALK)
        allowed = [name for name in NAMES if paths.problem(f"x/{name}/f", store.features.names) is None]
        for name in allowed:
            self.put(store, f"x/{name}/f")
            self.put(store, f"y/{name}")
        walked = list(store.walk(""))
        assert {e.path for e in walked} == {
            "x",
            "y",
            *(f"x/{n}" for n in allowed),
            *(f"x/{n}/f" for n in allowed),
            *(f"y/{n}" for n in allowed),
        }
        if store.features.walk_order.value == "bytes":
            assert strictly_rising(walked)

    def test_each_name_allowed_can_be_deleted_alone(self, store: Store) -> None:
        allowed = [name for name in NAMES if paths.problem(name, store.features.names) is None]
        for name in allowed:
            self.put(store, name)
        for position, name in enumerate(allowed):
            store.delete(name)
            assert len(self.listing(store)) == len(allowed) - position - 1, name

    def test_names_that_differ_in_unicode_form_are_two(self, store: Store) -> None:
        if store.features.names.unicode_form is not None:
            pytest.skip(f"{store.name} folds names to {store.features.names.unicode_form}")
        composed, decomposed = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
        self.put(store, composed, b"composed")
        self.put(store, decomposed, b"decomposed")
        assert self.listing(store).keys() == {composed, decomposed}
        assert self.get(store, composed) == b"composed"
        assert self.get(store, decomposed) == b"decomposed"

    def test_names_that_differ_in_case_are_two(self, store: Store) -> None:
        if not store.features.names.case_sensitive:
            pytest.skip(f"{store.name} folds case")
        self.put(store, "name", b"lower")
        self.put(store, "NAME", b"upper")
        assert self.listing(store).keys() == {"name", "NAME"}
        assert self.get(store, "name") == b"lower"

    def test_names_refused_are_refused_before_any_io(self, store: Store) -> None:
        self.put(store, "a/b", b"kept")
        checked = CheckStore(store)
        source = BytesSource(b"x")
        for path in (*REFUSED, *NAMES):
            if paths.problem(path, store.features.names) is None:
                continue
            for refused in (checked.stat, checked.scan, checked.read, checked.delete, checked.mkdir, checked.rmdir):
                with pytest.raises(InvalidName):
                    refused(path)
            with pytest.raises(InvalidName):
                checked.write(path, source)
        assert self.tree(store).keys() == {"a", "a/b"}
        assert self.get(store, "a/b") == b"kept"

    def test_names_up_to_the_longest_are_kept(self, store: Store) -> None:
        rules = store.features.names
        if rules.component_bytes is None or rules.component_bytes > 4096:
            pytest.skip(f"{store.name} sets no limit to a component that a case could reach")
        longest = "n" * rules.component_bytes
        self.put(store, longest, b"x")
        assert self.listing(store).keys() == {longest}
        with pytest.raises(InvalidName):
            CheckStore(store).write(longest + "n", BytesSource(b"x"))

    def test_opaque_keys_keep_their_odd_slashes(self, store: Store) -> None:
        if not store.features.names.opaque:
            pytest.skip(f"{store.name} has a hierarchy")
        odd = ("a//b", "a/./b", "a/../b", "a/b")
        for position, key in enumerate(odd):
            self.put(store, key, str(position).encode())
        for position, key in enumerate(odd):
            assert self.get(store, key) == str(position).encode()
        files = {e.path for e in store.walk("") if not e.is_dir} if self.has(store, Cap.WALK) else set(odd)
        assert files == set(odd)
        assert self.listing(store, "a/").keys() == {"a//b"}
        store.delete("a//b")
        assert self.get(store, "a/b") == b"3"

    def test_error_for_a_bad_name_says_what_is_wrong_with_it(self, store: Store) -> None:
        with pytest.raises(InvalidName) as caught:
            CheckStore(store).stat("nul\0byte")
        assert "NUL" in str(caught.value)
        assert isinstance(caught.value, StoreError)
        assert caught.value.path == "nul\0byte"
