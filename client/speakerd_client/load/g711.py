"""ITU-T G.711: 16-bit samples to mu-law and A-law codes and back, by tables, in pure Python.

A sample becomes the code between whose decision values (tables 1a to 2b of the recommendation) it
lies; one that is equal to a decision value becomes the code farther from zero. So every code is
reached from its own value, but for mu-law's second zero (0x7F): samples just below zero become it.
"""

from __future__ import annotations

import sys
from array import array
from functools import cache

_MULAW_BIAS = 33
_MULAW_LARGEST = 8158
"""Largest magnitude in 14 bits before the bias overflows the eighth segment."""
_ALAW_LARGEST = 4095
_INVERTED_EVEN_BITS = 0x55


def mulaw_of(samples: array[int]) -> bytes:
    """Encode 16-bit samples (an array of type "h"), one byte each."""
    return _encoded(samples, _mulaw_table())


def alaw_of(samples: array[int]) -> bytes:
    """Encode 16-bit samples (an array of type "h"), one byte each."""
    return _encoded(samples, _alaw_table())


@cache
def mulaw_values() -> tuple[int, ...]:
    """Give the 16-bit value of each of the 256 mu-law codes."""
    return tuple(map(_mulaw_value, range(256)))


@cache
def alaw_values() -> tuple[int, ...]:
    """Give the 16-bit value of each of the 256 A-law codes."""
    return tuple(map(_alaw_value, range(256)))


def little_endian(samples: array[int] | array[float]) -> bytes:
    """Write numbers as they travel, whatever the machine's own order is."""
    if sys.byteorder == "big":
        samples = samples[:]
        samples.byteswap()
    return samples.tobytes()


def _encoded(samples: array[int], table: bytes) -> bytes:
    """Look each sample up; the table is in the order of the samples' bits read as unsigned."""
    return bytes(map(table.__getitem__, memoryview(samples).cast("B").cast("H")))


@cache
def _mulaw_table() -> bytes:
    codes = [_mulaw_code(magnitude >> 2) for magnitude in range(32_769)]
    positive = bytes(code | 0x80 for code in codes[:32_768])
    return positive + bytes(codes[magnitude] for magnitude in range(32_768, 0, -1))


@cache
def _alaw_table() -> bytes:
    codes = [_alaw_code(magnitude >> 3) for magnitude in range(32_769)]
    positive = bytes(code ^ 0x80 for code in codes[:32_768])
    return positive + bytes(codes[magnitude] for magnitude in range(32_768, 0, -1))


def _mulaw_code(magnitude: int) -> int:
    """Give the seven lower bits of a magnitude in 14 bits; the sign bit is 0, for negative."""
    biased = min(magnitude, _MULAW_LARGEST) + _MULAW_BIAS
    segment = biased.bit_length() - 6
    return ~(segment << 4 | biased >> (segment + 1) & 15) & 0x7F


def _alaw_code(magnitude: int) -> int:
    """Give the code of a magnitude in 13 bits; the sign bit is 0, for negative."""
    clipped = min(magnitude, _ALAW_LARGEST)
    segment = max(0, clipped.bit_length() - 5)
    step = clipped >> max(1, segment) & 15
    return (segment << 4 | step) ^ _INVERTED_EVEN_BITS


def _mulaw_value(code: int) -> int:
    inverted = ~code & 0xFF
    segment, step = inverted >> 4 & 7, inverted & 15
    magnitude = ((2 * step + _MULAW_BIAS) << segment) - _MULAW_BIAS
    return 4 * (-magnitude if inverted & 0x80 else magnitude)


def _alaw_value(code: int) -> int:
    even = code ^ _INVERTED_EVEN_BITS
    segment, step = even >> 4 & 7, even & 15
    magnitude = (2 * step + 33) << (segment - 1) if segment else 2 * step + 1
    return 8 * (magnitude if even & 0x80 else -magnitude)
