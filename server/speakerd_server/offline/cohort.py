"""Recordings of other people -> the cohort that a model's scores are normalised by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speakerd_server.audio.ingest import Ingest
from speakerd_server.cards import Bundle, CohortDescription
from speakerd_server.errors import (
    AudioFileUnusable,
    CohortTooSmall,
    InvalidInput,
    OutputUnusable,
)
from speakerd_server.models.bundle import write_whole
from speakerd_server.models.card import CARD_NAME, card_text, read_card
from speakerd_server.models.cohort import COHORT_NAME, cohort_bytes, described
from speakerd_server.models.scale_tables import LEAST_TOP_N
from speakerd_server.offline.embedding import Extractor
from speakerd_server.offline.recordings import Reading, read_recording
from speakerd_server.offline.telephone import LINE_FORMAT, to_line
from speakerd_server.values import Float32

DEFAULT_TOP_N = 300
"""Or as many as there are: WeSpeaker's."""


@dataclass(frozen=True, slots=True, eq=False)
class MadeCohort:
    """A cohort that is not written yet."""

    content: bytes
    """The file."""
    description: CohortDescription
    """For the card."""
    unusable: tuple[AudioFileUnusable, ...]
    """Why recordings were left out."""


def over_line(samples: Float32, rate_hz: int) -> Float32:
    """Give float32[n] at rate_hz as it arrives over a telephone: mu-law at 8 kHz, resampled."""
    ingest = Ingest(LINE_FORMAT, rate_hz)
    return np.concatenate([ingest.push(to_line(samples, rate_hz)), ingest.end()])


def make_cohort(
    bundle: Bundle,
    paths: Sequence[Path],
    reading: Reading,
    told: Callable[[int], None],
    *,
    origin: str,
    top_n: int | None = None,
) -> MadeCohort:
    """Embed one recording of each person as it is and over a simulated telephone line.

    Args:
        bundle: The model.
        paths: Wide-band recordings; what cannot be embedded is left out and told.
        reading: How files are read.
        told: Called with 1 for each recording.
        origin: Whose speech it is, with its licence.
        top_n: How many of the most alike scores are normalised by; None: DEFAULT_TOP_N at most.

    Raises:
        CohortTooSmall: There are fewer than top_n, or than LEAST_TOP_N.
        ModelUnusable: The engine cannot load the model.
    """
    extractor = Extractor(bundle)
    pairs: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
    unusable: list[AudioFileUnusable] = []
    for path in paths:
        try:
            pairs.append(_embedded(extractor, path, reading))
        except AudioFileUnusable as error:
            unusable.append(error)
        told(1)
    wanted = min(DEFAULT_TOP_N, max(len(pairs), LEAST_TOP_N)) if top_n is None else top_n
    if len(pairs) < wanted:
        raise CohortTooSmall(len(pairs), wanted)
    wide, narrow = (np.stack(side) for side in zip(*pairs, strict=True))
    content = cohort_bytes(wide, narrow)
    return MadeCohort(content, described(content, len(pairs), wanted, origin), tuple(unusable))


def add_cohort(folder: Path, made: MadeCohort) -> None:
    """Put a cohort into a bundle, in place of what it has; comments in its card are lost.

    Raises:
        ModelUnusable: The card is not as it must be; it is left as it is.
        OutputUnusable: The folder cannot be written, as in an installed package.
    """
    card = replace(read_card(folder), cohort=made.description)
    try:
        write_whole(folder / COHORT_NAME, made.content)
        write_whole(folder / CARD_NAME, card_text(card).encode())
    except OSError as error:
        raise OutputUnusable(folder, error.strerror or str(error)) from error


def _embedded(
    extractor: Extractor, path: Path, reading: Reading
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give float64[dim] of a recording, and of it over the line."""
    rate_hz = extractor.card.sample_rate_hz
    samples = read_recording(
        path,
        rate_hz,
        channel=reading.channel,
        raw=reading.raw,
        raw_channels=reading.raw_channels,
    )
    try:
        return extractor.embed(samples), extractor.embed(over_line(samples, rate_hz))
    except InvalidInput as error:
        raise AudioFileUnusable(path, str(error)) from error
