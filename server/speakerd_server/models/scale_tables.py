"""Tables of a card that say what scores of other scales than cosine are held against and made by.

`[[calibration.scales]]` has default thresholds for asnorm and llr, `[cohort]` the impostors of
asnorm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from speakerd_server.cards import CohortDescription, ScaleThresholds
from speakerd_server.errors import ModelUnusable
from speakerd_server.models.card_tables import CARD_NAME, Keys, check_keys, exact
from speakerd_server.values import ScoreScale

_SCALE_KEYS: Keys = {"scale": str, "accept_at": float, "reject_below": float, "trials": str}
_COHORT_KEYS: Keys = {"file": str, "sha256": str, "speakers": int, "top_n": int, "origin": str}
_SCALES = (ScoreScale.ASNORM.value, ScoreScale.LLR.value)
LEAST_TOP_N = 2
"""One alone has no spread."""


def scales_table(scales: Sequence[ScaleThresholds]) -> list[dict[str, Any]]:
    """Give default thresholds as they stand in a card."""
    return [exact(_SCALE_KEYS, asdict(one) | {"scale": one.scale.value}) for one in scales]


def read_scales_table(folder: Path, rows: Sequence[object]) -> tuple[ScaleThresholds, ...]:
    """Read default thresholds, at most one for each scale. Raises ModelUnusable."""
    found = []
    for row in rows:
        values = check_keys(folder, "calibration.scales.", row, _SCALE_KEYS)
        if values["scale"] not in _SCALES:
            problem = f"calibration.scales.scale must be {' or '.join(_SCALES)}"
            raise ModelUnusable(folder, f"{CARD_NAME}: {problem}")
        if values["reject_below"] > values["accept_at"]:
            problem = "calibration.scales needs reject_below <= accept_at"
            raise ModelUnusable(folder, f"{CARD_NAME}: {problem}")
        found.append(ScaleThresholds(**values | {"scale": ScoreScale(values["scale"])}))
    if len({one.scale for one in found}) < len(found):
        raise ModelUnusable(folder, f"{CARD_NAME}: calibration.scales has a scale twice")
    return tuple(found)


def cohort_table(cohort: CohortDescription) -> dict[str, Any]:
    """Give a cohort's description as it stands in a card."""
    return exact(_COHORT_KEYS, asdict(cohort))


def read_cohort_table(folder: Path, table: object) -> CohortDescription:
    """Read a cohort's description; its file is not looked at. Raises ModelUnusable."""
    found = CohortDescription(**check_keys(folder, "cohort.", table, _COHORT_KEYS))
    if Path(found.file).name != found.file or not found.file:
        problem = f"cohort.file {found.file!r} is not the name of a file beside the card"
        raise ModelUnusable(folder, f"{CARD_NAME}: {problem}")
    if not LEAST_TOP_N <= found.top_n <= found.speakers:
        problem = f"cohort.top_n must be {LEAST_TOP_N} to cohort.speakers"
        raise ModelUnusable(folder, f"{CARD_NAME}: {problem}")
    return found
