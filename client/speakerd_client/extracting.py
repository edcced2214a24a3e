"""The embeddings of many recordings, written as Kaldi's ark and scp: WeSpeaker's batch client.

Many recordings are under way at once on one connection and the daemon batches their windows.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar, Unpack

from speakerd_client.audio import Audio
from speakerd_client.call_options import ModelOptions
from speakerd_client.checks import require
from speakerd_client.errors import (
    AudioFileError,
    Exhausted,
    InvalidList,
    InvalidRequest,
    ServerFailed,
    SpeakerdError,
    TooSlow,
)
from speakerd_client.journal import Journal, Work
from speakerd_client.kaldi import ListedRecording
from speakerd_client.loading import load_whole
from speakerd_client.patience import patiently
from speakerd_client.records import Health
from speakerd_client.results import Embedding

T = TypeVar("T")
R = TypeVar("R")

DEFAULT_JOBS = 8
MOST_JOBS = 256
"""So many unary calls a daemon takes at once by its default settings."""
_OF_THE_RECORDING = ("AUDIO_", "NO_AUDIO", "SAMPLE_RATE_", "ENCODING_")


@dataclass(frozen=True, slots=True)
class ExtractedRecording:
    """What became of one recording."""

    recording: ListedRecording
    """Which one."""
    embedding: Embedding | None
    """Kept for the output; None where there is an error."""
    error: SpeakerdError | None
    """Why this recording has none."""
    audio_s: float
    """Length in seconds; 0 where it could not be read."""
    finished: int
    """Recordings finished by now, those of an interrupted run and those with errors included."""


class Embeds(Protocol):
    """The part of AsyncClient that is needed here."""

    async def embed(self, audio: Audio, **options: Unpack[ModelOptions]) -> Embedding:
        """Give the embedding of one recording."""

    async def health(self) -> Health:
        """Ask whether the daemon takes calls."""


async def extract(
    client: Embeds,
    recordings: Sequence[ListedRecording],
    output_directory: str | Path,
    *,
    jobs: int = DEFAULT_JOBS,
    model: str = "",
    samples_per_chunk: int | None = None,
    channel: int | None = None,
    overwrite: bool = False,
) -> AsyncGenerator[ExtractedRecording, None]:
    """Embed every recording of a list and write xvector_000.ark with its .scp, ... at the end.

    Gives each recording as it is finished, in no particular order; the files are in the list's
    order, and are there when the iteration has ended. A recording that cannot be embedded is given
    with its error and left out, the others go on. When the iteration is left before, what was done
    stays in `xvector.part`, and the next one with the same list and settings goes on from there,
    giving only what is left; files of the list must not change in between. At most `jobs`
    recordings are in memory. Whole recordings are embedded, of at most 10 minutes each.

    Args:
        client: Whom to ask; the longest recording must be answered within its timeout_s, `jobs`
            of them being embedded at once.
        recordings: What to embed, such as `read_wav_scp` gives.
        output_directory: Folder of the files; made where it is missing.
        jobs: Recordings under way at once, and pairs of files, 1 to 256: pair N has the Nth part
            of the list.
        model: As "name" or "name/version"; empty: the daemon's default.
        samples_per_chunk: Window length in samples at the model's rate; -1: one window over all,
            of at most 60 s; None: the card's.
        channel: Which channel of each file to take, from 0; needed where there are several.
        overwrite: Replace finished output, and begin anew where an iteration was left.

    Raises:
        InvalidList: There is no recording, or an id is there twice; nothing was sent.
        OutputUnusable: The folder cannot be written, or holds something else.
        TypeError: An argument is of the wrong kind.
        ValueError: `jobs` is out of range.
        SpeakerdError: What concerns more than one recording, such as NotReachable; a daemon that
            has no room, or is gone for a moment, is waited for first.
    """
    _check(recordings, jobs)
    work = Work(recordings, model, samples_per_chunk, channel)
    journal = Journal(Path(output_directory), work, overwrite)
    options = ModelOptions(model=model, samples_per_chunk=samples_per_chunk)

    async def one(position: int) -> tuple[int, Embedding | SpeakerdError, float]:
        audio_s = 0.0
        try:
            audio = await asyncio.to_thread(load_whole, recordings[position].path, channel)
            audio_s = audio.duration_s
            embedding = await patiently(lambda: client.embed(audio, **options))
        except SpeakerdError as error:
            if not _concerns_one_recording(error):
                raise
            return position, error, audio_s
        journal.add(position, embedding)
        return position, embedding, audio_s

    try:
        await _to_its_end(journal.open)
        finished = journal.done
        left = (at for at in range(len(recordings)) if not journal.has(at))
        await client.health()
        async with aclosing(_several(one, left, jobs)) as results:
            async for position, result, audio_s in results:
                finished += 1
                embedding = result if isinstance(result, Embedding) else None
                error = None if isinstance(result, Embedding) else result
                yield ExtractedRecording(recordings[position], embedding, error, audio_s, finished)
        await _to_its_end(lambda: journal.finish(min(jobs, len(recordings))))
    finally:
        journal.close()


def _check(recordings: Sequence[ListedRecording], jobs: int) -> None:
    require(jobs, int, "jobs", "a whole number")
    if not 1 <= jobs <= MOST_JOBS:
        raise ValueError(f"jobs must be 1 to {MOST_JOBS}, not {jobs}")
    seen: set[str] = set()
    for each in recordings:
        require(each, ListedRecording, "a recording", "a ListedRecording")
        if each.recording_id in seen:
            raise InvalidList(f"the id {each.recording_id} is listed twice")
        seen.add(each.recording_id)
    if not seen:
        raise InvalidList("there is no recording in the list")


def _concerns_one_recording(error: SpeakerdError) -> bool:
    """Tell whether the others may fare better; what the settings are to blame for ends all."""
    if isinstance(error, InvalidRequest):
        return error.reason.startswith(_OF_THE_RECORDING)
    if isinstance(error, Exhausted):
        return error.retry_after_s is None
    return isinstance(error, AudioFileError | ServerFailed | TooSlow)


async def _several(
    work: Callable[[T], Awaitable[R]], items: Iterable[T], limit: int
) -> AsyncGenerator[R, None]:
    """Work on so many items at once and give each result; leaving early ends the work."""
    waiting = iter(items)
    under_way: set[asyncio.Future[R]] = set()
    try:
        while True:
            for item in itertools.islice(waiting, limit - len(under_way)):
                under_way.add(asyncio.ensure_future(work(item)))
            if not under_way:
                return
            done, _ = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                under_way.remove(each)
                yield each.result()
    finally:
        for each in under_way:
            each.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)


async def _to_its_end(work: Callable[[], None]) -> None:
    """Work on files in a thread; whoever is interrupted meanwhile waits until it has ended."""
    task = asyncio.create_task(asyncio.to_thread(work))
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
