"""An extraction that is not finished: its results on disk, from which a later run goes on.

The file `xvector.part` in the output folder: one line of JSON that says of what list, settings and
model it is, then a record for each recording as its embedding came: id, blank, Kaldi vector, CRC-32
of all that. A record that was cut, or is damaged, is cut off with what follows it.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import mmap
import os
import struct
import sys
import zlib
from array import array
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from speakerd_client.errors import NotPossible, OutputUnusable
from speakerd_client.kaldi import (
    ListedRecording,
    float_vector,
    pair_files,
    vector_bytes,
    write_pairs,
)
from speakerd_client.results import Embedding, ModelIdentity

JOURNAL_NAME = "xvector.part"
_FORMAT = 1
_CRC_BYTES = 4
_HEAD = b'{"format"'
_NOT_DONE = -1
_ANEW = "begin anew with overwrite (speakerctl: --overwrite)"


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be extracted, and how."""

    recordings: Sequence[ListedRecording]
    """In the order of the output."""
    model: str
    """As asked for; empty: the daemon's default."""
    samples_per_chunk: int | None
    """As asked for."""
    channel: int | None
    """As asked for."""

    def settings(self) -> dict[str, Any]:
        """Give what must be the same in a run that goes on with this work."""
        paths = hashlib.sha256()
        for each in self.recordings:
            line = f"{each.recording_id} {os.path.abspath(each.path)}\n"
            paths.update(line.encode("utf-8", "surrogateescape"))
        return {
            "list": paths.hexdigest(),
            "model": self.model,
            "samples_per_chunk": self.samples_per_chunk,
            "channel": self.channel,
        }


class Journal:
    """The results so far of one extraction, for one process at a time."""

    def __init__(self, folder: Path, work: Work, overwrite: bool) -> None:
        self._folder, self._work, self._overwrite = folder, work, overwrite
        self._path = folder / JOURNAL_NAME
        self._file: IO[bytes] | None = None
        self._end = 0
        self._offsets = array("q", [_NOT_DONE]) * len(work.recordings)
        self._model: ModelIdentity | None = None
        self._dim = 0
        self.done = 0
        """Recordings whose embedding is kept."""

    def open(self) -> None:
        """Make the folder and the file, or take up what an interrupted run has left.

        Raises:
            OutputUnusable: The folder cannot be written, another run is at it, or it holds finished
                output, or an unfinished extraction of something else, and may not be overwritten.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._check_unfinished()
            with ExitStack() as refused:
                file = refused.enter_context(open(self._path, "a+b"))
                self._lock(file)
                # Another run may have ended between the first look and the lock.
                self._check_unfinished()
                if self._overwrite:
                    file.truncate(0)
                self._take_up(file)
                # From here on the file is ours, and stays open.
                refused.pop_all()
                self._file = file
        except OSError as error:
            raise OutputUnusable(f"{self._folder}: {error.strerror or error}") from error

    def _check_unfinished(self) -> None:
        finished = pair_files(self._folder)
        fresh = not self._path.exists() or not self._path.stat().st_size
        if finished and fresh and not self._overwrite:
            raise OutputUnusable(
                f"{self._folder} holds finished output ({finished[0].name}, ...);"
                f" take another folder, or {_ANEW}"
            )

    def close(self) -> None:
        """Leave the file as it is; one that holds nothing is removed."""
        if self._file is not None:
            # After a full disk a last attempt to write what is buffered may fail once more.
            with suppress(OSError):
                self._file.close()
            if not self.done:
                with suppress(OSError):
                    self._path.unlink()
            self._file = None

    def has(self, position: int) -> bool:
        """Tell whether the embedding of a recording, by its place in the list, is kept."""
        return bool(self._offsets[position] != _NOT_DONE)

    def add(self, position: int, embedding: Embedding) -> None:
        """Keep an embedding.

        Raises:
            NotPossible: It is of another model than those so far.
            OutputUnusable: It cannot be written.
        """
        if self._model is None:
            self._begin(embedding)
        elif (self._model, self._dim) != (embedding.model, len(embedding.vector)):
            raise NotPossible(
                f"the daemon answers with model {embedding.model} (front end"
                f" {embedding.model.front_end}), the embeddings so far are of {self._model} (front"
                f" end {self._model.front_end}); name that model, or {_ANEW}",
                reason="MODEL_MISMATCH",
            )
        recording_id = self._work.recordings[position].recording_id
        record = recording_id.encode() + b" " + float_vector(embedding.vector)
        self._offsets[position] = self._write(record + struct.pack("<I", zlib.crc32(record)))
        self.done += 1

    def finish(self, parts: int) -> None:
        """Write the embeddings, in the list's order, as pairs of ark and scp; end the journal.

        Args:
            parts: How many pairs; the list is cut into so many contiguous parts, the first ones
                longer by one where it does not come out even.

        Raises:
            OutputUnusable: They cannot be written; the journal stays.
        """
        if self.done:
            size, longer = divmod(len(self._work.recordings), parts)
            starts = [part * size + min(part, longer) for part in range(parts + 1)]
            try:
                write_pairs(
                    self._folder,
                    (self._records(range(*bounds)) for bounds in itertools.pairwise(starts)),
                )
            except OSError as error:
                raise OutputUnusable(f"{self._folder}: {error.strerror or error}") from error
        self.done = 0
        self.close()

    def _records(self, positions: range) -> Iterator[tuple[str, bytes]]:
        assert self._file is not None
        for position in positions:
            if self.has(position):
                recording_id = self._work.recordings[position].recording_id
                self._file.seek(self._offsets[position] + len(recording_id.encode()) + 1)
                yield recording_id, self._file.read(vector_bytes(self._dim))

    def _begin(self, embedding: Embedding) -> None:
        """Write the head, by the first answer of the daemon."""
        self._model, self._dim = embedding.model, len(embedding.vector)
        head = {
            "format": _FORMAT,
            "settings": self._work.settings(),
            "dim": self._dim,
            "identity": asdict(self._model),
        }
        self._write(json.dumps(head).encode() + b"\n")

    def _write(self, content: bytes) -> int:
        """Append, and give where it begins."""
        assert self._file is not None
        try:
            self._file.write(content)
            self._file.flush()
        except OSError as error:
            raise OutputUnusable(f"{self._path}: {error.strerror or error}") from error
        begin = self._end
        self._end += len(content)
        return begin

    def _take_up(self, file: IO[bytes]) -> None:
        """Read what is there and cut off what is not whole."""
        if os.fstat(file.fileno()).st_size:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                head_end = data.find(b"\n")
                if head_end >= 0 or not _HEAD.startswith(data[: len(_HEAD)]):
                    self._take_head(data[: max(head_end, 0)])
                    self._end = self._take_records(data, head_end + 1)
        file.truncate(self._end)

    def _take_head(self, line: bytes) -> None:
        try:
            head = json.loads(line)
            found, self._dim = head["settings"], int(head["dim"])
            self._model = ModelIdentity(**head["identity"])
            known = head["format"] == _FORMAT
        except (ValueError, KeyError, TypeError):
            known = False
        if not known:
            raise OutputUnusable(f"{self._path} is no unfinished extraction; remove it")
        wanted = self._work.settings()
        differing = [name for name in wanted if found.get(name) != wanted[name]]
        if differing:
            raise OutputUnusable(
                f"{self._folder} holds an unfinished extraction with another"
                f" {' and '.join(differing)}; take another folder, or {_ANEW}"
            )

    def _take_records(self, data: mmap.mmap, at: int) -> int:
        """Note every whole record; give where the last one ends."""
        positions = {each.recording_id: at for at, each in enumerate(self._work.recordings)}
        payload_bytes = vector_bytes(self._dim)
        while (blank := data.find(b" ", at)) >= 0:
            end = blank + 1 + payload_bytes + _CRC_BYTES
            record, crc = data[at : end - _CRC_BYTES], data[end - _CRC_BYTES : end]
            if end > len(data) or struct.pack("<I", zlib.crc32(record)) != crc:
                break
            position = positions[data[at:blank].decode()]
            self.done += not self.has(position)
            self._offsets[position] = at
            at = end
        return at

    def _lock(self, file: IO[bytes]) -> None:
        """Refuse a second run at the same folder, where the system has such locks."""
        if sys.platform == "win32":
            return
        import fcntl

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputUnusable(
                f"{self._folder}: another extraction is writing there; wait for it, or take"
                " another folder"
            ) from error
