"""Recordings in, sequential boundaries out: the run of `speakerd evaluate --sequential`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from speakerd_server.cards import Bundle, SequentialBoundaries
from speakerd_server.errors import OptionInvalid
from speakerd_server.evaluation.call_ear import CallEar
from speakerd_server.evaluation.durations import listed_recordings
from speakerd_server.evaluation.joined_calls import join_calls
from speakerd_server.evaluation.material import Progress
from speakerd_server.evaluation.score_paths import score_paths
from speakerd_server.evaluation.sequential import Learnt, check_callers, measure
from speakerd_server.evaluation.sequential_options import SequentialOptions
from speakerd_server.evaluation.speakers import speakers_of
from speakerd_server.evaluation.trials import Trials, read_trials
from speakerd_server.evaluation.wanted import Wanted
from speakerd_server.gate.settings import GateSettings
from speakerd_server.models.bundle import load_bundle
from speakerd_server.models.card import CARD_NAME
from speakerd_server.models.choice import find_bundle
from speakerd_server.models.profile import add_boundaries_to_card, write_boundaries
from speakerd_server.offline.lists import Listed, read_wav_scp
from speakerd_server.offline.recordings import Reading, raw_reading
from speakerd_server.values import ScoreScale
from speakerd_server.windows.arithmetic import check_samples_per_chunk


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What came of it."""

    learnt: Learnt
    """The boundaries and how they do."""
    boundaries: SequentialBoundaries
    """The same as they are written."""
    written: tuple[Path, ...]
    """Files."""


def learn_boundaries(options: SequentialOptions, wanted: Wanted, progress: Progress) -> Found:
    """Join calls, learn boundaries, measure and write them.

    Raises:
        OptionInvalid: A person of the cohort is one of the trials as well.
        ListInvalid: A list is malformed.
        TrialsUnusable: Labels contradict who speaks.
        TooFewTrials: There are too few persons or pairs of them for the rates that are wanted.
        AudioFileUnusable: A recording cannot be read or embedded.
        SamplesPerChunkInvalid: The network cannot take such windows.
        OutputUnusable: A file cannot be written.
        ProfileUnusable: --boundaries-output names a file that is something else.
    """
    if wanted.wav_scp is None or wanted.model is None or options.cohort_wav_scp is None:
        raise ValueError("not checked")
    lists = [read_trials(path) for path in wanted.trials]
    recordings = _by_person(wanted, wanted.wav_scp, lists)
    cohort = read_wav_scp(options.cohort_wav_scp, wanted.wav_root)
    for one in cohort:
        if one.id in recordings:
            problem = f"{one.id} is a speaker of the trials as well; others are needed"
            raise OptionInvalid("--cohort-wav-scp", problem)
    bundle = load_bundle(find_bundle(wanted.model))
    learnt = _learn(options, wanted, bundle, recordings, cohort, progress)
    boundaries = _boundaries(options, wanted, bundle, learnt)
    return Found(learnt, boundaries, _written(options, wanted, bundle, boundaries))


def _by_person(
    wanted: Wanted, wav_scp: Path, lists: Sequence[Trials]
) -> Mapping[str, Sequence[Listed]]:
    speakers = speakers_of(lists, wanted.utt2spk)
    recordings: dict[str, list[Listed]] = {}
    for one in listed_recordings(wav_scp, lists, wanted.wav_root):
        recordings.setdefault(speakers[one.id], []).append(one)
    return recordings


def _learn(
    options: SequentialOptions,
    wanted: Wanted,
    bundle: Bundle,
    recordings: Mapping[str, Sequence[Listed]],
    cohort: Sequence[Listed],
    progress: Progress,
) -> Learnt:
    if wanted.samples_per_chunk is not None:
        check_samples_per_chunk(wanted.samples_per_chunk, bundle.card)
    ear = CallEar(
        bundle,
        samples_per_chunk=wanted.samples_per_chunk,
        gate=None if options.all_audio else GateSettings().rule,
        calls_by_telephone=options.over_telephone is not None,
        enrolments_by_telephone=options.over_telephone == "both",
    )
    raw, channel = wanted.raw, wanted.channel
    dealing = options.dealing(wanted.seed)
    if dealing.maximum_s * ear.rate_hz < ear.samples_per_chunk:
        problem = f"{dealing.maximum_s} s is less than one window"
        raise OptionInvalid("--maximum-speech", problem)
    with progress(len(recordings) + len(cohort), "joining calls") as told:
        voices = join_calls(
            ear,
            recordings,
            cohort,
            dealing,
            reading=Reading(channel) if raw is None else raw_reading(raw, channel),
            threads=wanted.threads or 1,
            told=told,
        )
    check_callers(len(voices.persons))
    paths = score_paths(voices, dealing.maximum_s, wanted.seed)
    rates = (options.target_far or 0.0, options.target_frr or 0.0)
    return measure(paths, *rates, draws=wanted.bootstrap, seed=wanted.seed)


def _boundaries(
    options: SequentialOptions, wanted: Wanted, bundle: Bundle, learnt: Learnt
) -> SequentialBoundaries:
    names = ", ".join(path.name for path in wanted.trials)
    return SequentialBoundaries(
        profile=options.profile,
        scale=ScoreScale.COSINE,
        target_far=learnt.target_far,
        target_frr=learnt.target_frr,
        samples_per_chunk=wanted.samples_per_chunk or bundle.card.samples_per_chunk,
        speech_gate=not options.all_audio,
        accept=tuple(learnt.bounds.accept.tolist()),
        reject=tuple(learnt.bounds.reject.tolist()),
        impostor_pairs=learnt.impostor_pairs,
        genuine_speakers=learnt.persons,
        trials=options.fitted_on or f"{learnt.target_calls} calls joined from {names}",
    )


def _written(
    options: SequentialOptions, wanted: Wanted, bundle: Bundle, boundaries: SequentialBoundaries
) -> tuple[Path, ...]:
    written = []
    if options.boundaries_output is not None:
        write_boundaries(options.boundaries_output, bundle.card.identity, boundaries)
        written.append(options.boundaries_output)
    if options.into_card and wanted.model is not None:
        folder = find_bundle(wanted.model)
        add_boundaries_to_card(folder, boundaries)
        written.append(folder / CARD_NAME)
    return tuple(written)
