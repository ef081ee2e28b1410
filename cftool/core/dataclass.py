"""`dataclass`, made in a fifth of the time: a command makes ninety classes before it does anything.

The standard one compiles seven methods for each frozen class; here it compiles `__init__`, and all classes share the
others. To mypy this is the standard one, so that frozen means frozen in all code that is checked; at run time an
assignment is not refused, which makes an instance in a third of the time. `fields`, `replace` and the like work.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass  # noqa: PLC0414 - given out under its own name
else:
    import dataclasses
    from collections.abc import Callable
    from operator import attrgetter

    def dataclass(
        *,
        frozen: bool = False,
        slots: bool = False,
        eq: bool = True,
        repr: bool = True,  # noqa: A002 - the standard names
    ) -> Callable[[type], type]:
        """See `dataclasses.dataclass`; these are all of its options that are in use."""

        def made(cls: type) -> type:
            own = vars(cls)
            cls = dataclasses.dataclass(slots=slots, eq=False, repr=False)(cls)
            if eq and "__eq__" not in own:
                names = [field.name for field in dataclasses.fields(cls) if field.compare]
                cls._compared = staticmethod(attrgetter(*names) if names else _nothing)
                cls.__eq__ = _eq
                cls.__hash__ = own.get("__hash__") or (_hash if frozen else None)
            if repr and "__repr__" not in own:
                cls.__repr__ = _repr
            return cls

        return made

    def _nothing(_one: object) -> None:
        return None

    def _eq(self: Any, other: object) -> bool:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return self._compared(self) == self._compared(other)

    def _hash(self: Any) -> int:
        return hash(self._compared(self))

    def _repr(self: Any) -> str:
        told = [f"{field.name}={getattr(self, field.name)!r}" for field in dataclasses.fields(self) if field.repr]
        return f"{self.__class__.__qualname__}({', '.join(told)})"
