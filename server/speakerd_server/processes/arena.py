"""Memory that a front end and an engine share: windows lie in it, embeddings come back in it."""

from __future__ import annotations

import bisect
import mmap
import os
import tempfile

PAGE_BYTES = 64


class Allocator:
    """Gives and takes back parts of a span of memory, first fit, neighbours joined again.

    Args:
        size_bytes: Of the span, a multiple of PAGE_BYTES.
    """

    def __init__(self, size_bytes: int) -> None:
        self._starts, self._ends = [0], [size_bytes]

    @property
    def free_bytes(self) -> int:
        """Bytes that are not given away."""
        return sum(self._ends) - sum(self._starts)

    def take(self, size_bytes: int) -> int | None:
        """Give the offset of so many bytes, aligned to PAGE_BYTES; None where there is no room."""
        needed = rounded(size_bytes)
        for at, (start, end) in enumerate(zip(self._starts, self._ends, strict=True)):
            if end - start >= needed:
                if end - start == needed:
                    del self._starts[at], self._ends[at]
                else:
                    self._starts[at] = start + needed
                return start
        return None

    def give_back(self, offset: int, size_bytes: int) -> None:
        """Take back what `take` gave, with the size that was asked for."""
        end = offset + rounded(size_bytes)
        at = bisect.bisect(self._starts, offset)
        joins_next = at < len(self._starts) and self._starts[at] == end
        joins_last = at > 0 and self._ends[at - 1] == offset
        if joins_last and joins_next:
            self._ends[at - 1] = self._ends[at]
            del self._starts[at], self._ends[at]
        elif joins_last:
            self._ends[at - 1] = end
        elif joins_next:
            self._starts[at] = offset
        else:
            self._starts.insert(at, offset)
            self._ends.insert(at, end)


def rounded(size_bytes: int) -> int:
    """Round up to whole PAGE_BYTES."""
    return -(-size_bytes // PAGE_BYTES) * PAGE_BYTES


def shared_file(size_bytes: int) -> int:
    """Make memory of zeros that other processes can map, and give its file descriptor."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("speakerd")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, size_bytes)
    return descriptor


def mapped(descriptor: int) -> mmap.mmap:
    """Map a whole shared file; the descriptor may be closed afterwards."""
    return mmap.mmap(descriptor, os.fstat(descriptor).st_size)
