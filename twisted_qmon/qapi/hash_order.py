"""
In which order QEMU meets the members of an object, where that can be seen: of several faults only the first is told.

QEMU keeps an object in a QDict, a hash table of 512 buckets; its argument checker copies the members into a hash table of
GLib's. Both orders depend on the names only. (Facts found out with a running QEMU 7.2; a test compares.)
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

__all__ = ["first_unexpected", "qdict_bucket", "qdict_order"]

_WORD = 0xFFFFFFFF

# The moduli that GLib uses for tables of 1, 2, 4, 8 ... places.
_PRIMES = (1, 2, 3, 7, 13, 31, 61, 127, 251, 509, 1021, 2039, 4093, 8191, 16381)
_SMALLEST = 3


def qdict_bucket(key: str) -> int:
    """
    Where QEMU's QDict keeps a key: members come in the order of 512 buckets, and in one bucket the newest first.
    """
    data = key.encode("utf-8", "surrogatepass")
    value = 0x238F13AF * len(data)
    for index, byte in enumerate(data):
        value += byte << (5 * index % 24)
    return (1103515243 * (value & _WORD) + 12345 & _WORD) % 512


def qdict_order(names: Iterable[str]) -> list[str]:
    """
    :param names: the members of an object, in the order in which they were put in
    :return: in the order in which QEMU meets them
    """
    newest_first = list(names)[::-1]
    return sorted(newest_first, key=qdict_bucket)


def _string_hash(key: str) -> int:
    value = 5381
    for byte in key.encode("utf-8", "surrogatepass"):
        # The bytes are signed.
        value = value * 33 + (byte - 256 if byte > 127 else byte) & _WORD
    return max(value, 2)


def _arrange(keys: Iterable[str], shift: int) -> list[str | None]:
    places: list[str | None] = [None] * (1 << shift)
    for key in keys:
        place = (_string_hash(key) * 11 & _WORD) % _PRIMES[shift]
        step = 0
        while places[place] is not None:
            step += 1
            place = (place + step) % len(places)
        places[place] = key
    return places


def first_unexpected(names: Collection[str], unexpected: list[str]) -> str:
    """
    Which of several unexpected members QEMU names.

    :param names: all members of the object
    :param unexpected: those of them that are not expected, one at least
    """
    if len(unexpected) == 1 or len(names) > 1000:
        return unexpected[0]
    shift = _SMALLEST
    present: list[str] = []
    places = _arrange(present, shift)
    for name in qdict_order(names):
        present.append(name)
        places = _arrange(present, shift)
        if len(places) <= len(present) + len(present) // 16:
            # The table grows; what is in it is put into the new one as it stands.
            present = [key for key in places if key is not None]
            shift = max(int(len(present) * 1.333).bit_length(), _SMALLEST)
            places = _arrange(present, shift)
    return next(key for key in places if key in unexpected)
