"""Memory that a batch is laid out in: an array of the host and where the device reads it."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray


class Mirrored(Protocol):
    """One array that the host and a device both have, at addresses that never change."""

    host: NDArray[Any]
    """One-dimensional, zeros at first."""
    address: int
    """Where the device has it."""

    def up(self, count: int) -> None:
        """Begin to bring the first `count` elements to the device."""
        ...

    def down(self, count: int) -> None:
        """Begin to bring the first `count` elements from the device."""
        ...


class Place(Protocol):
    """A device as one lane uses it: what is begun on it is done in that order."""

    kind: str
    """What ONNX Runtime calls it: cpu or cuda."""
    number: int
    """Of the device."""

    def mirrored(self, length: int, dtype: DTypeLike) -> Mirrored:
        """Make an array. Raises DeviceOutOfMemory."""
        ...

    def wait(self) -> None:
        """Return when all that was begun is done. Raises DeviceLost."""
        ...

    def close(self) -> None:
        """Give all memory back."""
        ...


class _SameArray:
    """An array where host and device are one."""

    def __init__(self, length: int, dtype: DTypeLike) -> None:
        self.host: NDArray[Any] = np.zeros(length, dtype)
        self.address = self.host.ctypes.data

    def up(self, count: int) -> None:
        """Do nothing."""

    def down(self, count: int) -> None:
        """Do nothing."""


class HostPlace:
    """The processor's own memory."""

    kind = "cpu"
    number = 0

    def mirrored(self, length: int, dtype: DTypeLike) -> Mirrored:
        """Make an array of zeros."""
        return _SameArray(length, dtype)

    def wait(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""
