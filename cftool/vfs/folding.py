"""Names that a service takes for one: Dropbox those that differ in case or in Unicode form. Used by `Listing`."""

import unicodedata
from collections.abc import Mapping

from cftool.core.types import NameRules
from cftool.vfs.nodes import Node


class Folding:
    """Finds what a name means by the service's rules, where no name is exactly that."""

    def __init__(self, rules: NameRules) -> None:
        self._case = not rules.case_sensitive
        self._form = rules.unicode_form
        self.folds = self._case or self._form is not None

    def find(self, names: Mapping[str, Node], name: str) -> Node | None:
        """The one of `names` that the service takes for `name`."""
        plain, length, wanted = name.isascii(), len(name), self._key(name)
        for other in list(names):  # others may change it meanwhile
            if plain and len(other) != length and other.isascii():
                continue
            if self._key(other) == wanted:
                return names.get(other)
        return None

    def _key(self, name: str) -> str:
        if name.isascii():
            return name.lower() if self._case else name
        if self._case:
            name = name.casefold()
        return name if self._form is None else unicodedata.normalize(self._form, name)  # type: ignore[arg-type]
