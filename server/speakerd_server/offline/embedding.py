"""Samples or files -> utterance embeddings, by the daemon's own windows, engine and mean."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speakerd_server.cards import Bundle, Card
from speakerd_server.engine.batch import embed_windows
from speakerd_server.engine.onnxruntime_cpu import OnnxRuntimeCpu
from speakerd_server.errors import (
    AudioFileUnusable,
    AudioTooLong,
    AudioWithoutVoice,
    InvalidInput,
    SpeakerdError,
)
from speakerd_server.offline.lists import Listed
from speakerd_server.offline.recordings import Reading, read_recording
from speakerd_server.score.running_mean import RunningMean
from speakerd_server.values import Float32, Window
from speakerd_server.windows.arithmetic import (
    WHOLE_SIGNAL,
    check_samples_per_chunk,
    frames_per_window,
)
from speakerd_server.windows.slicer import Slicer
from speakerd_server.windows.variance import varies

Float64 = NDArray[np.float64]

LONGEST_WHOLE_S = 300
"""Longest recording that may be one window: the network takes memory for each of its frames."""
BATCH_FRAMES = 1600
"""Most frames that are embedded together (8 windows of 2 s): of one recording, so that its
embedding is the same to the last bit whatever else is in the list, on however many threads."""
_AHEAD_PER_THREAD = 2
_PIECE_SAMPLES = 1 << 20
AS_THEY_ARE = Reading()
"""Files with a header and one channel."""


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """One recording's embedding, and what stands behind it."""

    embedding: Float64
    """float64[dim]: mean of the raw window embeddings, not length-normalised."""
    windows: int
    """In the mean; those without variance are not."""
    seconds: float
    """Length of the recording."""


class Extractor:
    """Embeds recordings with one model.

    Args:
        bundle: The model.
        samples_per_chunk: Window length at the model's rate; -1: one window over the whole
            recording, then of LONGEST_WHOLE_S at most; None: the card's.
        threads: Recordings that `embed_files` works on at once, each on one core.
        reading: How files are read.

    Raises:
        SamplesPerChunkInvalid: The network cannot take such windows.
        ModelUnusable: The engine cannot load the model.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        samples_per_chunk: int | None = None,
        threads: int = 1,
        reading: Reading = AS_THEY_ARE,
    ) -> None:
        self.card: Card = bundle.card
        chosen = self.card.samples_per_chunk if samples_per_chunk is None else samples_per_chunk
        check_samples_per_chunk(chosen, self.card)
        self.samples_per_chunk = chosen
        self.threads = threads
        self.reading = reading
        self._batch_windows = max(1, BATCH_FRAMES // max(1, frames_per_window(chosen)))
        self._backend = OnnxRuntimeCpu(bundle)

    def embed(self, samples: Float32) -> Float64:
        """Embed float32[n] at the model's rate: float64[dim]; see `embed_counted`."""
        return self.embed_counted(samples).embedding

    def embed_counted(self, samples: Float32, stopped: threading.Event | None = None) -> Embedded:
        """Embed float32[n], full scale 1.0, at the model's rate; any thread may call.

        Args:
            samples: One recording.
            stopped: When it is set, the work ends with CancelledError before the next batch.

        Raises:
            NoAudio: n is 0.
            AudioTooShort: n is less than a frame (with -1: than the network can take).
            AudioTooLong: n is more than one window may have (with -1 only).
            AudioWithoutVoice: Nothing varies in any window.
            EngineFailed: The engine gave no embedding.
        """
        mean, silent = RunningMean(self.card.dim), 0
        windows = self._windows(samples)
        while batch := list(islice(windows, self._batch_windows)):
            if stopped is not None and stopped.is_set():
                raise CancelledError
            voiced = [window for window in batch if varies(window)]
            silent += len(batch) - len(voiced)
            self._add(voiced, mean)
        if not mean.count:
            raise AudioWithoutVoice(silent)
        seconds = len(samples) / self.card.sample_rate_hz
        return Embedded(mean.sum / mean.count, mean.count, seconds)

    def embed_files(
        self, recordings: Sequence[Listed]
    ) -> Generator[tuple[Listed, Embedded | SpeakerdError], None, None]:
        """Embed audio files on `threads` threads, in their order, a few ahead of the consumer.

        Gives for each the embedding, or why there is none: AudioFileUnusable or EngineFailed.
        Closing the iterator ends the work.
        """
        stopped = threading.Event()
        pool = ThreadPoolExecutor(self.threads, thread_name_prefix="extract")

        def started(listed: Listed) -> tuple[Listed, Future[Embedded | SpeakerdError]]:
            return listed, pool.submit(self._outcome, listed, stopped)

        left, bound = iter(recordings), _AHEAD_PER_THREAD * self.threads
        ahead = deque(map(started, islice(left, bound)), maxlen=bound)
        try:
            while ahead:
                listed, future = ahead.popleft()
                outcome = future.result()
                ahead.extend(map(started, islice(left, 1)))
                yield listed, outcome
        finally:
            stopped.set()
            pool.shutdown(cancel_futures=True)

    def embed_many(
        self, recordings: Sequence[Listed]
    ) -> Iterator[tuple[Listed, Float64 | SpeakerdError, float]]:
        """Do as `embed_files`; gives the list's entry, float64[dim] or the error, and seconds."""
        for listed, outcome in self.embed_files(recordings):
            if isinstance(outcome, Embedded):
                yield listed, outcome.embedding, outcome.seconds
            else:
                yield listed, outcome, 0.0

    def _outcome(self, listed: Listed, stopped: threading.Event) -> Embedded | SpeakerdError:
        try:
            return self.embed_file(listed.path, stopped)
        except SpeakerdError as error:
            return error

    def embed_file(self, path: Path, stopped: threading.Event | None = None) -> Embedded:
        """Embed an audio file; see `embed_counted`. Raises AudioFileUnusable and EngineFailed."""
        reading = self.reading
        try:
            samples = read_recording(
                path,
                self.card.sample_rate_hz,
                channel=reading.channel,
                raw=reading.raw,
                raw_channels=reading.raw_channels,
            )
            return self.embed_counted(samples, stopped)
        except InvalidInput as error:
            raise AudioFileUnusable(path, str(error)) from error
        except MemoryError as error:
            raise AudioFileUnusable(path, "it is too long for this machine's memory") from error

    def _windows(self, samples: Float32) -> Iterator[Window]:
        longest = LONGEST_WHOLE_S * self.card.sample_rate_hz
        if self.samples_per_chunk == WHOLE_SIGNAL and len(samples) > longest:
            advice = "ask for windows and not for -1 samples per chunk, or cut the recording"
            raise AudioTooLong(LONGEST_WHOLE_S, advice)
        slicer = Slicer(self.samples_per_chunk, self.card.min_frames)
        for start in range(0, len(samples), _PIECE_SAMPLES):
            yield from slicer.push(samples[start : start + _PIECE_SAMPLES])
        yield from slicer.end()

    def _add(self, windows: list[Window], mean: RunningMean) -> None:
        if not windows:
            return
        for outcome in embed_windows(self._backend, windows, self.card.dim):
            if isinstance(outcome, SpeakerdError):
                raise outcome
            mean.add(outcome)


def usable_cores() -> int:
    """Count the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
