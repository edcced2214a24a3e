"""Mistakes of a caller, told where they are made and in the caller's words."""

from __future__ import annotations


def require(value: object, kind: type | tuple[type, ...], name: str, wanted: str) -> None:
    """Raise TypeError unless `value` is of `kind`; `wanted` says what to give instead."""
    if not isinstance(value, kind):
        shown = repr(value) if isinstance(value, str | int | float) else type(value).__name__
        raise TypeError(f"{name} must be {wanted}, not {shown}")


def require_address(address: object) -> None:
    """Raise TypeError or ValueError unless this can be the address of a daemon."""
    require(address, str, "address", 'text such as "127.0.0.1:8001"')
    host, separator, port = str(address).rpartition(":")
    if not (host and separator and port):
        raise ValueError(f'the address must be "host:port" such as 127.0.0.1:8001, not {address!r}')


def require_piece(piece: object) -> None:
    """Raise TypeError unless this is audio as it travels."""
    advice = "bytes (of an array: array.tobytes())"
    require(piece, (bytes, bytearray, memoryview), "a piece of audio", advice)
