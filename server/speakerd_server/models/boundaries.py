"""Sequential boundaries as the table that stands in a card, `[[calibration.sequential]]`."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from speakerd_server.cards import SequentialBoundaries
from speakerd_server.errors import ModelUnusable
from speakerd_server.models.card_tables import CARD_NAME, Keys, check_keys, exact
from speakerd_server.sequential import PROFILES
from speakerd_server.values import ScoreScale

LONGEST_S = 3600
"""Most seconds that boundaries may reach to."""
HIGHEST_RATE = 0.5
"""Of a target."""

_WHERE = "calibration.sequential."
_KEYS: Keys = {
    "profile": str,
    "scale": str,
    "target_far": float,
    "target_frr": float,
    "samples_per_chunk": int,
    "speech_gate": bool,
    "accept": list,
    "reject": list,
    "impostor_pairs": int,
    "genuine_speakers": int,
    "trials": str,
}


def boundaries_table(one: SequentialBoundaries) -> dict[str, Any]:
    """Give boundaries as the table that stands in a card; `read_boundaries_table` reads it."""
    sides = {"accept": list(one.accept), "reject": list(one.reject)}
    return exact(_KEYS, asdict(one) | {"scale": one.scale.value} | sides)


def read_boundaries_table(path: Path, table: object) -> SequentialBoundaries:
    """Read one table; `path` is what an error names. Raises ModelUnusable."""
    values = check_keys(path, _WHERE, table, _KEYS)
    accept, reject = (_numbers(path, key, values[key]) for key in ("accept", "reject"))
    rates = (values["target_far"], values["target_frr"])
    for is_fine, problem in (
        (values["profile"] in PROFILES, f"profile must be one of {', '.join(PROFILES)}"),
        (values["scale"] == ScoreScale.COSINE.value, "scale must be cosine"),
        (
            all(0.0 < rate <= HIGHEST_RATE for rate in rates),
            f"target_far and target_frr must be above 0 and at most {HIGHEST_RATE:g}",
        ),
        (
            1 <= len(accept) == len(reject) <= LONGEST_S,
            f"accept and reject must have one number a second each, 1 to {LONGEST_S}",
        ),
        (
            all(low <= high for low, high in zip(reject, accept, strict=False)),
            "reject must nowhere be above accept",
        ),
        (
            min(values["samples_per_chunk"], values["impostor_pairs"], values["genuine_speakers"])
            >= 1,
            "samples_per_chunk, impostor_pairs and genuine_speakers must be positive",
        ),
    ):
        if not is_fine:
            raise ModelUnusable(path, f"{CARD_NAME}: {_WHERE}{problem}")
    return SequentialBoundaries(
        **values | {"scale": ScoreScale.COSINE, "accept": accept, "reject": reject}
    )


def _numbers(path: Path, key: str, values: list[object]) -> tuple[float, ...]:
    numbers = [value for value in values if type(value) is float and math.isfinite(value)]
    if len(numbers) < len(values):
        raise ModelUnusable(path, f"{CARD_NAME}: {_WHERE}{key} must hold finite floats alone")
    return tuple(numbers)
