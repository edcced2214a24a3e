"""JSON of inference requests: its long lists of numbers are read in pieces, other calls between.

A list of a minute's samples is some megabytes of text, and reading it whole would hold up
everything else for as long.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from speakerd_server.errors import BodyInvalid

AROUND_BYTES = 64 << 10
"""Most JSON besides the lists of numbers."""
MOST_LISTS = 4096
"""In one another or side by side, of one tensor."""
_PIECE_BYTES = 64 << 10
_LONGEST_NUMBER = 1024
_KEY = b'"data"'
_LIST = re.compile(rb"\s*:\s*\[")
_BETWEEN = b" \t\r\n[]"
_PLACE = "Infinity"
_NUMBERS: Mapping[str, tuple[np.dtype[Any], frozenset[type]]] = {
    "FP32": (np.dtype("<f4"), frozenset((int, float))),
    "INT64": (np.dtype("<i8"), frozenset((int,))),
}


@dataclass(frozen=True, slots=True, eq=False)
class Numbers:
    """A list under a key "data", which has not been read yet; not even whether it has numbers."""

    text: bytes
    """All of the JSON."""
    start: int
    """Of what is between the outermost brackets."""
    end: int
    """Of the same."""


def parse(text: bytes) -> dict[str, Any]:
    """Read a JSON object; nothing is {}. Lists under keys "data" become Numbers.

    Raises BodyInvalid.
    """
    around, lists = _without_lists(text)
    if not around.strip():
        return {}
    left = iter(lists)

    def constant(name: str) -> Numbers:
        # Whatever is called Infinity is where a list was: one that was there before makes them
        # more than the lists.
        found = next(left, None) if name == _PLACE else None
        return found or _no_number(name)

    try:
        value = json.loads(around.decode(), parse_constant=constant)
    except (ValueError, RecursionError) as error:
        raise BodyInvalid(f"is no JSON ({error})") from None
    if next(left, None) is not None:
        raise BodyInvalid("is no JSON")
    if not isinstance(value, dict):
        raise BodyInvalid("is no JSON object")
    return value


async def packed(numbers: Numbers, datatype: str) -> bytes | memoryview:
    """Give the numbers of lists, in order, as the datatype stores them; nothing for an unknown one.

    Raises BodyInvalid for anything but numbers.
    """
    if datatype not in _NUMBERS:
        return b""  # the datatype is refused by the model
    size = numbers.end - numbers.start
    if size <= _PIECE_BYTES and not numbers.text[numbers.start : numbers.end].strip(_BETWEEN):
        return b""
    dtype, kinds = _NUMBERS[datatype]
    out = bytearray()
    for piece in _pieces(numbers):
        try:
            values = _DECODER.decode("[" + piece.decode() + "]")
            if not values or not kinds.issuperset(map(type, values)):
                raise BodyInvalid(f"has 'data' of {datatype} that is not a list of such numbers")
            with np.errstate(over="ignore"):
                out += np.array(values, dtype).tobytes()
        except (ValueError, OverflowError, RecursionError) as error:
            raise BodyInvalid(f"has 'data' that is no list of numbers ({error})") from None
        if size > _PIECE_BYTES:
            await asyncio.sleep(0)
    return memoryview(out)


def _without_lists(text: bytes) -> tuple[bytes, list[Numbers]]:
    around: list[bytes | memoryview] = []
    lists: list[Numbers] = []
    view, done, size, at = memoryview(text), 0, 0, text.find(_KEY)
    while at >= 0:
        _check_around(size + at - done)
        # In JSON these six bytes are a whole word, and no part of one, unless a quote is escaped.
        found = _LIST.match(text, at + len(_KEY))
        if found and text[at - 1 : at] != b"\\":
            end = _end_of_lists(text, found.end())
            lists.append(Numbers(text, found.end(), end - 1))
            around += (view[done : found.end() - 1], _PLACE.encode())
            size += found.end() - done
            done = at = end
        else:
            at += len(_KEY)
        at = text.find(_KEY, at)
    _check_around(size + len(text) - done)
    around.append(view[done:])
    return b"".join(around), lists


def _end_of_lists(text: bytes, start: int) -> int:
    """Find where the list ends whose bracket is just before."""
    depth, at = 1, start
    for _ in range(MOST_LISTS):
        end = text.find(b"]", at)
        if end < 0:
            break
        depth += text.count(b"[", at, end) - 1
        at = end + 1
        if not depth:
            return at
    raise BodyInvalid(f"has 'data' that does not end, or of more than {MOST_LISTS} lists")


def _pieces(numbers: Numbers) -> Iterator[bytes]:
    """Go through the text of the numbers, cut at commas, without brackets."""
    text, at = numbers.text, numbers.start
    while at <= numbers.end:
        end = text.find(b",", min(at + _PIECE_BYTES, numbers.end), numbers.end)
        end = numbers.end if end < 0 else end
        if end - at > _PIECE_BYTES + _LONGEST_NUMBER:
            raise BodyInvalid("has 'data' with a number that does not end")
        yield text[at:end].translate(_BRACKETS_TO_BLANKS)
        at = end + 1


def _check_around(size_bytes: int) -> None:
    if size_bytes > AROUND_BYTES:
        raise BodyInvalid(f"has more than {AROUND_BYTES} bytes of JSON besides the tensors' data")


def _no_number(name: str) -> NoReturn:
    raise BodyInvalid(f"is no JSON: {name} is no number there")


_DECODER = json.JSONDecoder(parse_constant=_no_number)
_BRACKETS_TO_BLANKS = bytes.maketrans(b"[]", b"  ")
