"""Calls joined from people's recordings, heard as the daemon hears calls: window by window.

Recordings are dealt anew in each round: the first ones of a random order are enrolled, the others
are joined into calls, each as long as the maximum. What is enrolled is never in a call of its
round. A recording that is dealt in several rounds is in several calls; so the persons are counted
wherever independence matters, never the calls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speakerd_server.errors import AudioFileUnusable, InvalidInput
from speakerd_server.evaluation.call_ear import CallEar, HeardCall
from speakerd_server.offline.lists import Listed
from speakerd_server.offline.recordings import Reading, read_recording
from speakerd_server.values import Float32

Float64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Dealing:
    """How recordings are dealt."""

    rounds: int
    """Times that each person's recordings are dealt."""
    enroll_s: float
    """Least audio that is enrolled, in seconds; whole recordings."""
    maximum_s: int
    """Net speech of a call, in seconds."""
    seed: int
    """The same seed deals the same."""


@dataclass(frozen=True, slots=True, eq=False)
class JoinedCall:
    """One call of one person."""

    person: str
    """Who speaks."""
    round: int
    """In which it was dealt."""
    heard: HeardCall
    """After each window."""


@dataclass(frozen=True, slots=True, eq=False)
class Voices:
    """Everyone's calls and enrolments."""

    calls: tuple[JoinedCall, ...]
    """All that reach the maximum, by person and round."""
    enrolled: Mapping[tuple[str, int], Float64]
    """float64[dim] by person and round."""
    cohort: Mapping[str, Float64]
    """float64[dim] of people who are only claimed, by the recording's id."""

    @property
    def persons(self) -> list[str]:
        """Those with a call, sorted."""
        return sorted({call.person for call in self.calls})


def join_calls(
    ear: CallEar,
    recordings: Mapping[str, Sequence[Listed]],
    cohort: Sequence[Listed],
    dealing: Dealing,
    *,
    reading: Reading,
    threads: int = 1,
    told: Callable[[int], None] = lambda _: None,
) -> Voices:
    """Deal, join and hear.

    Args:
        ear: Hears calls.
        recordings: By person.
        cohort: One recording of each of other people.
        dealing: How.
        reading: How files are read.
        threads: People worked on at once.
        told: Called with 1 for each person and each recording of the cohort.

    Raises:
        AudioFileUnusable: A recording cannot be read or embedded.
        EngineFailed: The engine gave no embedding.
    """
    numbered = list(enumerate(sorted(recordings)))

    def person(one: tuple[int, str]) -> tuple[list[JoinedCall], dict[tuple[str, int], Float64]]:
        number, name = one
        dealt = _Dealt(ear, name, recordings[name], dealing, reading)
        calls, enrolled = [], {}
        for turn in range(dealing.rounds):
            generator = np.random.default_rng([dealing.seed, number, turn])
            enrolled[name, turn] = dealt.enrolled(generator)
            calls += [JoinedCall(name, turn, heard) for heard in dealt.calls()]
        told(1)
        return calls, enrolled

    def impostor(one: Listed) -> tuple[str, Float64]:
        mean = _mean(ear, [one], [_read(one, ear, reading)])
        told(1)
        return one.id, mean

    with ThreadPoolExecutor(threads, thread_name_prefix="calls") as pool:
        people = list(pool.map(person, numbered))
        claimed = dict(pool.map(impostor, cohort))
    return Voices(
        tuple(call for calls, _ in people for call in calls),
        {key: mean for _, enrolled in people for key, mean in enrolled.items()},
        claimed,
    )


class _Dealt:
    """One person's recordings, dealt again and again."""

    def __init__(
        self, ear: CallEar, name: str, listed: Sequence[Listed], dealing: Dealing, reading: Reading
    ) -> None:
        self._ear, self._name, self._dealing, self._listed = ear, name, dealing, listed
        self._samples = [_read(one, ear, reading) for one in listed]
        self._left: list[int] = []

    def enrolled(self, generator: np.random.Generator) -> Float64:
        """Deal anew, and give the mean float64[dim] of what is enrolled."""
        order = generator.permutation(len(self._listed)).tolist()
        taken, needed = 0, self._dealing.enroll_s * self._ear.rate_hz
        while taken < len(order) and needed > 0:
            needed -= len(self._samples[order[taken]])
            taken += 1
        self._left = order[taken:]
        chosen = order[:taken]
        return _mean(
            self._ear, [self._listed[one] for one in chosen], [self._samples[one] for one in chosen]
        )

    def calls(self) -> Iterator[HeardCall]:
        """Give the calls that the rest is enough for."""
        left = iter([self._samples[one] for one in self._left])
        while (heard := self._ear.hear(left, self._dealing.maximum_s)) is not None:
            yield heard


def _mean(ear: CallEar, listed: Sequence[Listed], samples: Sequence[Float32]) -> Float64:
    try:
        return ear.mean(samples)
    except InvalidInput as error:
        raise AudioFileUnusable(listed[0].path, str(error)) from error


def _read(one: Listed, ear: CallEar, reading: Reading) -> Float32:
    try:
        return read_recording(
            one.path,
            ear.rate_hz,
            channel=reading.channel,
            raw=reading.raw,
            raw_channels=reading.raw_channels,
        )
    except InvalidInput as error:
        raise AudioFileUnusable(one.path, str(error)) from error
