"""What was made once and may be needed again, within limits."""

from __future__ import annotations


class Kept(dict):
    """Things made once; the oldest arrays go where all together take too much room.

    Several threads may ask at a time: one thing may then be made twice.

    Parameters
    ----------
    room : int
        Bytes that arrays may take. The latest stays whatever it takes.
    """

    def __init__(self, room):
        super().__init__()
        self.room = room

    def once(self, key, make):
        """``make()``, called the first time, and again where it had to go."""
        found = self.get(key)
        if found is None:
            self[key] = found = make()
            self._let_go(key)
        return found

    def _let_go(self, latest):
        sizes = {key: _bytes(value) for key, value in list(self.items())}
        total = sum(sizes.values())
        for key, size in sizes.items():
            if total <= self.room:
                return
            if size and key != latest:
                self.pop(key, None)
                total -= size


def _bytes(value):
    if isinstance(value, tuple):
        return sum(_bytes(part) for part in value)
    return getattr(value, "nbytes", 0)
