"""What an extraction has done so far, on the disk, so that it can go on where it was ended.

The first line says what job it is. Records of one size follow, appended one by one: the
recording's place in the list, its windows, its seconds, float32[dim], and the CRC-32 of these.
Whatever ends the process, only the last record can be damaged; it is cut off.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from speakerd_server.errors import OutputUnusable
from speakerd_server.offline.embedding import Embedded
from speakerd_server.offline.locks import Locked, lock
from speakerd_server.values import Float32

_MARK = b"speakerd extract 1 "
_LONGEST_HEAD_BYTES = 1 << 20
_BLOCK_RECORDS = 4096

Job = Mapping[str, str | int | None]
"""What an extraction depends on, by the name that is shown when it differs."""


class Journal:
    """The journal of one job, locked while it is open; a context manager.

    Args:
        path: Made if it does not exist.
        job: What is to be done.
        dim: Of the embeddings.
        anew: Forget what another job has done.

    Raises:
        OutputUnusable: The file cannot be written, is of another job or no journal, or another
            process writes it.
    """

    def __init__(self, path: Path, job: Job, dim: int, *, anew: bool) -> None:
        self._path = path
        self._record = np.dtype(
            [
                ("place", "<u4"),
                ("windows", "<u4"),
                ("seconds", "<f8"),
                ("embedding", "<f4", (dim,)),
                ("crc", "<u4"),
            ]
        )
        self._offsets: dict[int, int] = {}
        self.windows = 0
        self.seconds = 0.0
        with _named(path):
            self._file = path.open("a+b", buffering=0)
        try:
            with _named(path):
                lock(self._file)
                self._begin(job, anew)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    @property
    def places(self) -> frozenset[int]:
        """Of the recordings that are done, from 0."""
        return frozenset(self._offsets)

    def append(self, place: int, embedded: Embedded) -> None:
        """Add one recording's embedding, rounded to float32. Raises OutputUnusable."""
        record = np.zeros(1, self._record)
        record["place"], record["windows"] = place, embedded.windows
        record["seconds"], record["embedding"] = embedded.seconds, embedded.embedding
        record["crc"] = zlib.crc32(record.tobytes()[:-4])
        with _named(self._path):
            offset = self._file.seek(0, 2)
            self._write(record.tobytes())
        self._count(record[0], offset)

    def embeddings(self) -> Iterator[tuple[int, Float32]]:
        """Give place and float32[dim] of each recording that is done, in the list's order."""
        with _named(self._path):
            for place in sorted(self._offsets):
                self._file.seek(self._offsets[place])
                content = self._file.read(self._record.itemsize)
                yield place, np.frombuffer(content, self._record)["embedding"][0]

    def remove(self) -> None:
        """Close and delete the file: its job is finished."""
        self._file.close()
        self._path.unlink(missing_ok=True)

    def _begin(self, job: Job, anew: bool) -> None:
        self._file.seek(0)
        head, whole, _ = self._file.read(_LONGEST_HEAD_BYTES).partition(b"\n")
        if not (head.startswith(_MARK) or _MARK.startswith(head)):
            raise OutputUnusable(self._path, "it is no journal of an extraction; move it away")
        begun = _parsed(head) if whole else None
        if begun is None or (anew and begun != job):
            self._file.truncate(0)
            self._write(_head(job))
        elif begun != job:
            raise OutputUnusable(self._path, _difference(begun, job))
        self._read_records(len(_head(job)))

    def _read_records(self, start: int) -> None:
        """Note every whole record, and cut off what follows the last of them."""
        self._file.seek(start)
        offset, size = start, self._record.itemsize
        while content := self._file.read(_BLOCK_RECORDS * size):
            for at in range(0, len(content) - size + 1, size):
                record = np.frombuffer(content, self._record, 1, at)[0]
                if zlib.crc32(content[at : at + size - 4]) != record["crc"]:
                    break
                self._count(record, offset)
                offset += size
            else:
                if len(content) == _BLOCK_RECORDS * size:
                    continue
            break
        self._file.truncate(offset)

    def _count(self, record: NDArray[Any], offset: int) -> None:
        self._offsets[int(record["place"])] = offset
        self.windows += int(record["windows"])
        self.seconds += float(record["seconds"])

    def _write(self, content: bytes) -> None:
        left = memoryview(content)
        while left:
            left = left[self._file.write(left) :]


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Give the system's refusals the file's name."""
    try:
        yield
    except Locked as error:
        problem = "another extraction writes it now; end that one, or let it finish"
        raise OutputUnusable(path, problem) from error
    except OSError as error:
        raise OutputUnusable(path, error.strerror or str(error)) from error


def _head(job: Job) -> bytes:
    return _MARK + json.dumps(dict(job), sort_keys=True).encode() + b"\n"


def _parsed(head: bytes) -> Job | None:
    """Read the first line; None where it is damaged, so that no record can be used."""
    try:
        job: Any = json.loads(head.removeprefix(_MARK))
    except ValueError:
        return None
    return job if isinstance(job, dict) else None


def _difference(begun: Job, job: Job) -> str:
    for name in sorted(begun.keys() | job.keys()):
        was, now = begun.get(name), job.get(name)
        if was != now:
            break
    return (
        f"it was begun with another {name} ({was}, now {now}); run that command to finish it, or"
        " give --overwrite to begin anew"
    )
