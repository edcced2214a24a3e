"""Trials whose tested side, or both, come over a simulated telephone line.

With the tested side alone one recording may be heard in both ways, so that ids of the tested side
get SUFFIX, in score files too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from speakerd_server.cards import DEFAULT_PROFILE
from speakerd_server.evaluation.embeddings import Embeddings
from speakerd_server.evaluation.trials import Trials
from speakerd_server.offline.lists import Listed

BY_TELEPHONE = {None: DEFAULT_PROFILE, "calls": "wide-narrow", "both": "narrow-narrow"}
"""What a line is simulated for, and the profile that it usually makes."""
SUFFIX = "@telephone"


@dataclass(frozen=True, slots=True)
class HeardSide:
    """Recordings that are heard in one way."""

    listed: tuple[Listed, ...]
    """The recordings."""
    over_telephone: bool
    """Whether over the line."""
    suffix: str = ""
    """Of the ids of what was heard."""


def heard_sides(
    listed: Sequence[Listed], lists: Sequence[Trials], over_telephone: str | None
) -> list[HeardSide]:
    """Divide recordings by how they are heard; one may be in two sides."""
    if over_telephone != "calls":
        return [HeardSide(tuple(listed), over_telephone == "both")]
    enroll = frozenset(one for trials in lists for one in trials.enroll)
    test = frozenset(one for trials in lists for one in trials.test)
    return [
        HeardSide(tuple(one for one in listed if one.id in enroll), over_telephone=False),
        HeardSide(tuple(one for one in listed if one.id in test), True, SUFFIX),
    ]


def joined(
    found: Sequence[Mapping[str, Embeddings]], sides: Sequence[HeardSide]
) -> Mapping[str, Embeddings]:
    """Give the embeddings of all sides together, by length of speech, the ids with suffixes."""
    return {
        speech: _together(
            [(one[speech], side.suffix) for one, side in zip(found, sides, strict=True)]
        )
        for speech in found[0]
    }


def as_heard(
    trials: Trials, speakers: Mapping[str, str], over_telephone: str | None
) -> tuple[Trials, Mapping[str, str]]:
    """Give the trials, and the person of each id, by the ids of what was heard."""
    if over_telephone != "calls":
        return trials, speakers
    test = tuple(f"{one}{SUFFIX}" for one in trials.test)
    also = {f"{one}{SUFFIX}": person for one, person in speakers.items()}
    return replace(trials, test=test), {**speakers, **also}


def _together(parts: Sequence[tuple[Embeddings, str]]) -> Embeddings:
    first = parts[0][0]
    if len(parts) == 1:
        return first
    dim = max(one.values.shape[1] for one, _ in parts)
    seconds = [one.seconds for one, _ in parts if one.seconds is not None]
    return Embeddings(
        first.source,
        tuple(f"{name}{suffix}" for one, suffix in parts for name in one.ids),
        np.concatenate([one.values.reshape(-1, dim) for one, _ in parts]),
        np.concatenate(seconds) if len(seconds) == len(parts) else None,
    )
