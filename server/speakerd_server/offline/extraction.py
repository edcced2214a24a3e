"""A list of recordings -> one file of embeddings, in the list's order, resumable."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from speakerd_server.errors import OptionInvalid, OutputUnusable, SpeakerdError
from speakerd_server.offline.embedding import Embedded, Extractor
from speakerd_server.offline.journal import Job, Journal
from speakerd_server.offline.lists import Listed
from speakerd_server.offline.vectors import write_ark, write_npz, write_text
from speakerd_server.values import Float32

OUTPUT_SUFFIXES = (".txt", ".ark", ".npz")


@dataclass(frozen=True, slots=True)
class Failure:
    """A recording without an embedding."""

    listed: Listed
    """Which."""
    error: SpeakerdError
    """Why: AudioFileUnusable or EngineFailed."""


@dataclass(slots=True)
class Totals:
    """What an extraction did."""

    recordings: int
    """In the list."""
    resumed: int = 0
    """Embedded by an earlier run that was ended."""
    embedded: int = 0
    """In the output, the resumed ones among them."""
    windows: int = 0
    """In the output's embeddings."""
    audio_s: float = 0.0
    """Seconds of the output's recordings."""
    new_audio_s: float = 0.0
    """Seconds of the recordings embedded by this run."""
    processing_s: float = 0.0
    """Wall clock of this run, from the first file opened to the output written."""
    failures: list[Failure] = field(default_factory=list)
    """In the list's order."""

    @property
    def rtf(self) -> float | None:
        """Real-time factor of this run, processing_s / new_audio_s; None where it did nothing."""
        return self.processing_s / self.new_audio_s if self.new_audio_s else None


Notice = Callable[[Listed, Embedded | SpeakerdError], None]
"""Told of each recording of this run as it is done."""


def check_output(output: Path, wav_scp: Path | None = None) -> None:
    """Raise OptionInvalid for a file that cannot be written: its kind, a name, the list itself."""
    if output.suffix not in OUTPUT_SUFFIXES:
        raise OptionInvalid("--output", f"{output} must end with {', '.join(OUTPUT_SUFFIXES)}")
    if output.suffix == ".ark" and len(str(output).split()) != 1:
        raise OptionInvalid("--output", f"{output}: a .scp cannot name a file with blanks")
    if wav_scp is not None and wav_scp.resolve() in [path.resolve() for path in _written(output)]:
        raise OptionInvalid("--output", f"{output}: the list {wav_scp} would be replaced by it")


def extract(
    recordings: Sequence[Listed],
    extractor: Extractor,
    output: Path,
    *,
    overwrite: bool = False,
    notice: Notice = lambda listed, outcome: None,
) -> Totals:
    """Embed every recording into one file; recordings that cannot be are left out.

    What is done is kept in a journal beside the output, `OUTPUT.partial`. Ended in any way, the
    same call goes on from it, tries the failed recordings again, and gives the very bytes that
    an uninterrupted one gives. The journal goes when the output is whole.

    Args:
        recordings: Each id once.
        extractor: Embeds them.
        output: `.txt`, `.ark` (with a `.scp` beside it) or `.npz`; see offline.vectors.
        overwrite: Replace an output that is there, and forget another job's journal.
        notice: Told of each recording.

    Returns:
        Totals; where nothing was embedded, nothing was written.

    Raises:
        OptionInvalid: The output is of a kind that cannot be written.
        OutputUnusable: The output is there already, cannot be written, or another job's journal
            stands beside it.
    """
    check_output(output)
    partial = output.with_name(output.name + ".partial")
    for path in _written(output):
        if path.exists() and not partial.exists() and not overwrite:
            raise OutputUnusable(path, "it is there already; give --overwrite to replace it")
    job = _job(recordings, extractor)
    totals = Totals(len(recordings))
    with Journal(partial, job, extractor.card.dim, anew=overwrite) as journal:
        totals.resumed = len(journal.places)
        begun_s = time.perf_counter()
        _run(recordings, extractor, journal, totals, notice)
        if journal.places:
            _write(output, recordings, journal)
        totals.processing_s = time.perf_counter() - begun_s
        totals.embedded = len(journal.places)
        totals.windows, totals.audio_s = journal.windows, journal.seconds
        journal.remove()
    return totals


def _run(
    recordings: Sequence[Listed],
    extractor: Extractor,
    journal: Journal,
    totals: Totals,
    notice: Notice,
) -> None:
    done = journal.places
    left = [place for place in range(len(recordings)) if place not in done]
    with closing(extractor.embed_files([recordings[place] for place in left])) as outcomes:
        for place, (listed, outcome) in zip(left, outcomes, strict=True):
            if isinstance(outcome, Embedded):
                journal.append(place, outcome)
                totals.new_audio_s += outcome.seconds
            else:
                totals.failures.append(Failure(listed, outcome))
            notice(listed, outcome)


def _job(recordings: Sequence[Listed], extractor: Extractor) -> Job:
    listed = "".join(f"{one.id} {one.path}\n" for one in recordings)
    card, reading = extractor.card, extractor.reading
    raw = reading.raw
    shown = f"{raw.encoding.value}:{raw.sample_rate_hz}:{reading.raw_channels}" if raw else None
    return {
        "model": f"{card.identity}, {card.sha256[:16]}",
        "list": hashlib.sha256(listed.encode("utf-8", "surrogateescape")).hexdigest()[:16],
        "samples_per_chunk": extractor.samples_per_chunk,
        "channel": reading.channel,
        "raw format": shown,
    }


def _written(output: Path) -> tuple[Path, ...]:
    return (output, output.with_suffix(".scp")) if output.suffix == ".ark" else (output,)


def _write(output: Path, recordings: Sequence[Listed], journal: Journal) -> None:
    named = ((recordings[place].id, vector) for place, vector in journal.embeddings())
    if output.suffix == ".ark":
        write_ark(output, output.with_suffix(".scp"), named)
    elif output.suffix == ".txt":
        write_text(output, named)
    else:
        write_npz(output, *_gathered(named))


def _gathered(named: Iterator[tuple[str, Float32]]) -> tuple[list[str], Float32]:
    pairs = list(named)
    return [name for name, _ in pairs], np.stack([vector for _, vector in pairs])
