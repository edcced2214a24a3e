"""One process at a time may write a file."""

from __future__ import annotations

import sys
from typing import IO

if sys.platform == "win32":
    import msvcrt

    _FAR_BYTES = 1 << 40

    def _lock(file: IO[bytes]) -> None:
        file.seek(_FAR_BYTES)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except PermissionError as error:
            raise BlockingIOError from error

else:
    import fcntl

    def _lock(file: IO[bytes]) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


class Locked(Exception):
    """Another process has the file locked."""


def lock(file: IO[bytes]) -> None:
    """Lock a file until it is closed, or its process ends in any way. Raises Locked."""
    try:
        _lock(file)
    except BlockingIOError as error:
        raise Locked from error
    except OSError:
        # A file system without locks, such as some network shares: two writers are not noticed.
        return
