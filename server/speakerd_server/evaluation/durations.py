"""Recordings embedded whole and cut to their middle: error against the length of speech."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speakerd_server.errors import AudioFileUnusable, AudioWithoutVoice, InvalidInput
from speakerd_server.evaluation.embeddings import Embeddings
from speakerd_server.evaluation.trials import Trials, check_known
from speakerd_server.offline.cohort import over_line
from speakerd_server.offline.embedding import Extractor
from speakerd_server.offline.lists import Listed, read_wav_scp
from speakerd_server.offline.recordings import Reading, read_recording
from speakerd_server.values import Float32

WHOLE = "whole"
"""The speech of recordings that are not cut."""

Cuts = Sequence[NDArray[np.float64] | None]


def middle(samples: Float32, wanted: int) -> Float32 | None:
    """Cut the middle `wanted` samples out; None where there are fewer."""
    start = (len(samples) - wanted) // 2
    return samples[start : start + wanted] if start >= 0 else None


def listed_recordings(
    wav_scp: Path, lists: Sequence[Trials], root: Path | None = None
) -> tuple[Listed, ...]:
    """Give the recordings of a wav.scp that the trial lists name.

    Raises:
        ListInvalid: The wav.scp is malformed, or a trial names an id that is not in it.
    """
    listed = read_wav_scp(wav_scp, root)
    for trials in lists:
        check_known(trials, frozenset(one.id for one in listed), wav_scp)
    named = frozenset(one for trials in lists for one in (*trials.enroll, *trials.test))
    return tuple(one for one in listed if one.id in named)


def embed_recordings(
    extractor: Extractor,
    wav_scp: Path,
    listed: Sequence[Listed],
    durations_s: Sequence[float],
    *,
    reading: Reading | None = None,
    threads: int = 1,
    told: Callable[[int], None] = lambda _: None,
    over_telephone: bool = False,
) -> Mapping[str, Embeddings]:
    """Embed the middle of each recording at each length, and the whole of it.

    Args:
        extractor: The model.
        wav_scp: The list that `listed` stands in, for messages.
        listed: The recordings.
        durations_s: Seconds of the cuts.
        reading: Channel and raw format; None: one channel, and no raw files.
        threads: Recordings worked on at once.
        told: Called with 1 for each recording done.
        over_telephone: Send each whole recording over a simulated line first.

    Returns:
        By length of speech, such as "2 s", in the order given, then "whole". Recordings shorter
        than a length, or without voice in that cut, are left out of it; values are float32.

    Raises:
        AudioFileUnusable: A recording cannot be read, or gives no embedding as a whole.
    """
    rate_hz = extractor.card.sample_rate_hz
    how = reading or Reading()
    lengths = [round(seconds * rate_hz) for seconds in durations_s]

    def work(one: Listed) -> tuple[float, Cuts]:
        samples = read_recording(
            one.path,
            rate_hz,
            channel=how.channel,
            raw=how.raw,
            raw_channels=how.raw_channels,
        )
        if over_telephone:
            samples = over_line(samples, rate_hz)
        try:
            cuts = [_embed_cut(extractor, middle(samples, length)) for length in lengths]
            return len(samples) / rate_hz, [*cuts, extractor.embed(samples)]
        except InvalidInput as error:
            raise AudioFileUnusable(one.path, str(error)) from error

    found: list[tuple[float, Cuts]] = []
    pool = ThreadPoolExecutor(threads)
    try:
        for result in pool.map(work, listed):
            found.append(result)
            told(1)
    finally:
        pool.shutdown(cancel_futures=True)
    names = [*(speech_of(seconds) for seconds in durations_s), WHOLE]
    limits = [*durations_s, np.inf]
    return {
        name: _collected(wav_scp, listed, found, at, limits[at]) for at, name in enumerate(names)
    }


def speech_of(seconds: float) -> str:
    """Give the name of a length of speech, such as "2 s"."""
    return f"{seconds:g} s"


def _embed_cut(extractor: Extractor, samples: Float32 | None) -> NDArray[np.float64] | None:
    try:
        return None if samples is None else extractor.embed(samples)
    except AudioWithoutVoice:
        return None


def _collected(
    wav_scp: Path,
    listed: Sequence[Listed],
    found: Sequence[tuple[float, Cuts]],
    at: int,
    longest_s: float,
) -> Embeddings:
    """Gather the embeddings of one length of speech."""
    there = [
        (one.id, min(seconds, longest_s), cut)
        for one, (seconds, cuts) in zip(listed, found, strict=True)
        if (cut := cuts[at]) is not None
    ]
    dim = max((len(cut) for _, _, cut in there), default=0)
    values = np.array([cut for _, _, cut in there], np.float32).reshape(len(there), dim)
    seconds_each = np.array([seconds for _, seconds, _ in there], np.float64)
    return Embeddings(wav_scp, tuple(name for name, _, _ in there), values, seconds_each)
