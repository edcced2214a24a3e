"""The embeddings of an evaluation: read from files, or made of recordings by a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from speakerd_server.cards import Bundle, Card
from speakerd_server.errors import VectorsUnusable
from speakerd_server.evaluation.durations import WHOLE, embed_recordings, listed_recordings
from speakerd_server.evaluation.embeddings import (
    Embeddings,
    Floats,
    mean_of,
    read_cohort,
    read_embeddings,
)
from speakerd_server.evaluation.evaluating import Cohort
from speakerd_server.evaluation.over_telephone import heard_sides, joined
from speakerd_server.evaluation.score_files import make_folder
from speakerd_server.evaluation.trials import Trials
from speakerd_server.evaluation.wanted import Wanted
from speakerd_server.models.bundle import load_bundle
from speakerd_server.models.choice import find_bundle
from speakerd_server.models.mean import read_mean
from speakerd_server.offline.embedding import Extractor
from speakerd_server.offline.recordings import Reading, raw_reading

Progress = Callable[[int, str], AbstractContextManager[Callable[[int], None]]]


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """Embeddings, and what is done to them and to their scores."""

    embeddings: Mapping[str, Embeddings]
    """By length of speech, such as "2 s" or "whole"."""
    mean: Floats | None
    """To be taken off them."""
    cohort: Cohort | None
    """That scores are normalised by."""
    card: Card | None
    """Of the model; None where it is not known."""


def gather(wanted: Wanted, lists: Sequence[Trials], progress: Progress) -> Material:
    """Read or make the embeddings; what is cheap to check is checked first.

    Raises:
        ListInvalid: A list is malformed, or a trial names an id that is not there.
        VectorsUnusable: Embeddings are damaged, or lengths differ.
        CohortTooSmall: The cohort has fewer embeddings than the top N.
        AudioFileUnusable: A recording cannot be embedded.
        ModelUnusable: The model cannot be loaded.
        OutputUnusable: The folder for score files cannot be made.
    """
    if wanted.output is not None:
        make_folder(wanted.output)
    bundle = load_bundle(find_bundle(wanted.model)) if wanted.model is not None else None
    if wanted.scp is not None:
        read = read_embeddings(wanted.scp, lists)
        dim = read.values.shape[1]
        if bundle is not None and bundle.card.dim != dim:
            problem = f"they have {dim} values, those of {bundle.card.identity} {bundle.card.dim}"
            raise VectorsUnusable(wanted.scp, problem)
        mean, cohort = _normalisers(wanted, dim)
        return Material({WHOLE: read}, mean, cohort, bundle.card if bundle else None)
    if bundle is None or wanted.wav_scp is None:
        raise ValueError("recordings are embedded by a model")
    mean, cohort = _normalisers(wanted, bundle.card.dim)
    embeddings = _embed(wanted, lists, bundle, progress)
    return Material(embeddings, mean, cohort, bundle.card)


def _normalisers(wanted: Wanted, dim: int) -> tuple[Floats | None, Cohort | None]:
    mean = None
    source = wanted.mean_scp or wanted.mean_vec
    if source is not None:
        mean = mean_of(source) if wanted.mean_scp is not None else read_mean(source)
        if mean.shape != (dim,):
            problem = f"the mean has {mean.size} values, the embeddings of the trials have {dim}"
            raise VectorsUnusable(source, problem)
    if wanted.cohort_scp is None:
        return mean, None
    cohort = read_cohort(wanted.cohort_scp, dim).centred(mean)
    return mean, Cohort(cohort, wanted.cohort_top_n)


def _embed(
    wanted: Wanted, lists: Sequence[Trials], bundle: Bundle, progress: Progress
) -> Mapping[str, Embeddings]:
    if wanted.wav_scp is None:
        return {}
    threads = wanted.threads or 1
    raw, channel = wanted.raw, wanted.channel
    reading = Reading(channel) if raw is None else raw_reading(raw, channel)
    listed = listed_recordings(wanted.wav_scp, lists, wanted.wav_root)
    extractor = Extractor(bundle, samples_per_chunk=wanted.samples_per_chunk)
    sides = heard_sides(listed, lists, wanted.over_telephone)
    with progress(sum(len(side.listed) for side in sides), "embedding") as told:
        return joined(
            [
                embed_recordings(
                    extractor,
                    wanted.wav_scp,
                    side.listed,
                    wanted.durations_s,
                    reading=reading,
                    threads=threads,
                    told=told,
                    over_telephone=side.over_telephone,
                )
                for side in sides
            ],
            sides,
        )
