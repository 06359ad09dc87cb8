"""Read a config key by key, so that a key that nothing reads is known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from openmix.errors import InputError, brief

_NOTHING = object()


class Keys:
    """A mapping of a config, whose keys are taken one by one.

    Args:
        content: the mapping.
        place: its dotted key, for messages; '': the whole config.

    Raises:
        InputError: it is no mapping.
    """

    def __init__(self, content: Any, place: str = '') -> None:
        if not isinstance(content, Mapping):
            raise InputError(f'{place}: must be a dict, got {brief(content)}')
        self._left, self.place = dict(content), place
        self._inner: list[Keys] = []

    def __contains__(self, key: str) -> bool:
        return key in self._left

    def __iter__(self) -> Iterator[str]:
        return iter(self._left)

    def named(self, key: str) -> str:
        """Return the dotted key of one of its keys."""
        return f'{self.place}.{key}' if self.place else key

    def take(self, key: str, default: Any = _NOTHING) -> Any:
        """Take the value of a key.

        Raises:
            InputError: the key is missing and has no default.
        """
        if key not in self._left and default is _NOTHING:
            raise InputError(f"{self.place or 'the config'} has no '{key}', which every config of OpenMixup has")
        return self._left.pop(key, default)

    def inner(self, key: str, default: Any = _NOTHING) -> Keys:
        """Take the mapping of a key, whose own keys are taken in turn."""
        found = Keys(self.take(key, default), self.named(key))
        self._inner.append(found)
        return found

    def expect(self, key: str, *values: Any) -> None:
        """Take a key that has no counterpart; it may be missing or have one of some values, which change nothing.

        Raises:
            InputError: it has another value.
        """
        if key in self._left and (value := self._left.pop(key)) not in values:
            raise InputError(f'{self.named(key)}={brief(value)} has no counterpart in openmix')

    def left(self) -> Iterator[str]:
        """Yield the dotted keys that nothing has taken."""
        yield from map(self.named, self._left)
        for one in self._inner:
            yield from one.left()
