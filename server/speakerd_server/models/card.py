"""The card of a bundle, `card.toml`: read strictly, written by whatever makes or calibrates one."""

from __future__ import annotations

import math
import tomllib
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import tomli_w

from speakerd_server.cards import (
    BAND_PAIRS,
    BandThresholds,
    Calibration,
    Card,
    ErrorRates,
    FrontEndDescription,
    LlrCalibration,
    SequentialBoundaries,
)
from speakerd_server.errors import ModelUnusable
from speakerd_server.models.boundaries import boundaries_table, read_boundaries_table
from speakerd_server.models.card_tables import CARD_NAME as CARD_NAME
from speakerd_server.models.card_tables import Keys, check_keys, exact
from speakerd_server.models.front_end import DESCRIBED, FAMILIES, fingerprint, wrong_in
from speakerd_server.models.scale_tables import (
    cohort_table,
    read_cohort_table,
    read_scales_table,
    scales_table,
)
from speakerd_server.values import ModelIdentity, ScoreScale

_CARD_KEYS: Keys = {
    "name": str,
    "version": str,
    "sample_rate_hz": int,
    "dim": int,
    "samples_per_chunk": int,
    "min_frames": int,
    "precision": str,
    "licence": str,
    "origin": str,
    "sha256": str,
    "front_end": dict,
    "calibration": dict,
}
_OPTIONAL_KEYS: Keys = {"cohort": dict}
_FRONT_END_KEYS: Keys = {"family": str, "fingerprint": str}
_DESCRIBED_KEYS: Keys = {
    "sample_scale": float,
    "window": str,
    "mel_bins": int,
    "low_hz": float,
    "high_hz": float,
    "pre_emphasis": float,
    "mean_removed": bool,
}
_CALIBRATION_KEYS: Keys = {"scale": str, "trials": str}
_THRESHOLD_KEYS: Keys = {"accept_at": float, "reject_below": float}
_VOICE_KEYS: Keys = {"several_below": float, "handover_below": float}
_LIST_KEYS: Keys = {
    "measured": list,
    "llr": list,
    "bands": list,
    "sequential": list,
    "scales": list,
}
_BAND_KEYS: Keys = {"pair": str, "accept_at": float, "reject_below": float, "trials": str}
_MEASURED_KEYS: Keys = {
    "speech": str,
    "same_speaker_trials": int,
    "other_speaker_trials": int,
    "equal_error_percent": float,
    "false_accept_percent": float,
    "false_reject_percent": float,
}
LLR_KEYS: Keys = {
    "profile": str,
    "scale": str,
    "offset": float,
    "slope": float,
    "shorter": float,
    "longer": float,
    "speakers": int,
    "cllr_before": float,
    "cllr_after": float,
    "trials": str,
}
"""Of one [[calibration.llr]] table, and of a profile's."""
LLR_RANGE_KEYS: Keys = {"shortest_s": float, "longest_s": float}
"""In such a table too, where durations were fitted."""


def read_card(folder: Path) -> Card:
    """Read the card of a bundle strictly.

    Raises:
        ModelUnusable: The card is missing, is no TOML, lacks a key, has an unknown or a wrong one.
    """
    try:
        table = tomllib.loads((folder / CARD_NAME).read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelUnusable(folder, f"{CARD_NAME} cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise ModelUnusable(folder, f"{CARD_NAME} is no TOML ({error})") from error
    check_keys(folder, "", table, _CARD_KEYS, _OPTIONAL_KEYS)
    named = table.pop("front_end")
    front_end = _front_end(folder, named)
    cohort = table.pop("cohort", None)
    card = Card(
        identity=ModelIdentity(table.pop("name"), table.pop("version"), named["fingerprint"]),
        front_end=front_end,
        calibration=_calibration(folder, table.pop("calibration")),
        cohort=None if cohort is None else read_cohort_table(folder, cohort),
        **table,
    )
    positive = (card.sample_rate_hz, card.dim, card.samples_per_chunk, card.min_frames)
    if min(positive) < 1:
        raise ModelUnusable(folder, f"{CARD_NAME}: rates and sizes must be positive")
    if not (card.identity.name and card.identity.version):
        raise ModelUnusable(folder, f"{CARD_NAME}: name and version must not be empty")
    return card


def card_text(card: Card) -> str:
    """Write a card as TOML; `read_card` gives the same card back."""
    front_end: dict[str, Any] = {
        "family": card.front_end.family,
        "fingerprint": card.identity.front_end,
    }
    if card.front_end.family not in FAMILIES:
        front_end |= exact(_DESCRIBED_KEYS, asdict(card.front_end))
    table: dict[str, Any] = {"name": card.identity.name, "version": card.identity.version}
    table |= {
        field.name: getattr(card, field.name) for field in fields(card) if field.name in _CARD_KEYS
    }
    table |= {"front_end": front_end, "calibration": _calibration_table(card)}
    return tomli_w.dumps(table | ({"cohort": cohort_table(card.cohort)} if card.cohort else {}))


def _calibration_table(card: Card) -> dict[str, Any]:
    calibration = card.calibration
    table: dict[str, Any] = {"scale": "cosine", "trials": calibration.trials}
    if calibration.accept_at is not None:
        table |= exact(_THRESHOLD_KEYS, asdict(calibration))
    for key in _VOICE_KEYS:
        if (cosine := getattr(calibration, key)) is not None:
            table[key] = cosine
    lists = {
        "bands": [exact(_BAND_KEYS, asdict(row)) for row in calibration.bands],
        "measured": [exact(_MEASURED_KEYS, asdict(row)) for row in calibration.measured],
        "llr": [llr_table(llr) for llr in calibration.llr],
        "scales": scales_table(calibration.scales),
        "sequential": [boundaries_table(one) for one in calibration.sequential],
    }
    return table | {key: rows for key, rows in lists.items() if rows}


def llr_table(llr: LlrCalibration) -> dict[str, Any]:
    """Give a calibration as the table that stands in a card or a profile."""
    keys = LLR_KEYS if math.isinf(llr.longest_s) else {**LLR_KEYS, **LLR_RANGE_KEYS}
    return exact(keys, asdict(llr) | {"scale": llr.scale.value})


def read_llr(path: Path, table: object) -> LlrCalibration:
    """Read one table of LLR_KEYS; `path` is what an error names. Raises ModelUnusable."""
    values = check_keys(path, "calibration.llr.", table, LLR_KEYS, LLR_RANGE_KEYS)
    if values["scale"] not in (ScoreScale.COSINE.value, ScoreScale.ASNORM.value):
        raise ModelUnusable(path, "calibration.llr.scale must be cosine or asnorm")
    if values["slope"] <= 0:
        raise ModelUnusable(path, "calibration.llr.slope must be positive")
    if not 0 <= values.get("shortest_s", 0.0) < values.get("longest_s", math.inf):
        raise ModelUnusable(path, "calibration.llr needs 0 <= shortest_s < longest_s")
    return LlrCalibration(**values | {"scale": ScoreScale(values["scale"])})


def _front_end(folder: Path, named: object) -> FrontEndDescription:
    """Read the front end; its fingerprint must be that of this speakerd's."""
    values = check_keys(folder, "front_end.", named, _FRONT_END_KEYS, _DESCRIBED_KEYS)
    family = values["family"]
    if family in FAMILIES:
        check_keys(folder, "front_end.", named, _FRONT_END_KEYS)
        description = FAMILIES[family]
    elif family == DESCRIBED:
        check_keys(folder, "front_end.", named, {**_FRONT_END_KEYS, **_DESCRIBED_KEYS})
        described = {key: values[key] for key in _DESCRIBED_KEYS}
        description = FrontEndDescription(family=family, **described)
    else:
        known = ", ".join((*FAMILIES, DESCRIBED))
        raise ModelUnusable(
            folder, f"{CARD_NAME}: front_end.family {family!r} is unknown; there is {known}"
        )
    wrong = wrong_in(description)
    if wrong:
        raise ModelUnusable(folder, f"{CARD_NAME}: front_end.{wrong[0]}: {wrong[1]}")
    if fingerprint(description) != values["fingerprint"]:
        problem = f"front_end.fingerprint is not that of {family}, {fingerprint(description)}"
        raise ModelUnusable(folder, f"{CARD_NAME}: {problem}")
    return description


def _measured(folder: Path, table: object) -> ErrorRates:
    values = check_keys(folder, "calibration.measured.", table, _MEASURED_KEYS)
    rates = ErrorRates(**values)
    trials = (rates.same_speaker_trials, rates.other_speaker_trials)
    percent = (rates.equal_error_percent, rates.false_accept_percent, rates.false_reject_percent)
    if min(trials) < 0 or not all(0 <= value <= 100 for value in percent):
        raise ModelUnusable(
            folder,
            f"{CARD_NAME}: calibration.measured has a number of trials below 0, or a rate that is"
            " not between 0 and 100",
        )
    return rates


def _calibration(folder: Path, table: object) -> Calibration:
    values = check_keys(
        folder,
        "calibration.",
        table,
        _CALIBRATION_KEYS,
        {**_THRESHOLD_KEYS, **_VOICE_KEYS, **_LIST_KEYS},
    )
    measured = [_measured(folder, row) for row in values.get("measured", [])]
    llr = tuple(read_llr(folder, row) for row in values.get("llr", []))
    if len({one.profile for one in llr}) < len(llr):
        raise ModelUnusable(folder, f"{CARD_NAME}: calibration.llr has a profile twice")
    accept_at, reject_below = values.get("accept_at"), values.get("reject_below")
    given = [number for number in (reject_below, accept_at) if number is not None]
    fine = len(given) != 1 and all(-1.0 <= number <= 1.0 for number in given)
    if values["scale"] != "cosine" or not fine or given != sorted(given):
        raise ModelUnusable(
            folder,
            f"{CARD_NAME}: calibration needs -1 <= reject_below <= accept_at <= 1 in cosine,"
            " or neither",
        )
    voices = {key: values.get(key) for key in _VOICE_KEYS}
    for key, cosine in voices.items():
        if cosine is not None and not -1.0 <= cosine <= 1.0:
            raise ModelUnusable(folder, f"{CARD_NAME}: calibration.{key} is no cosine")
    return Calibration(
        accept_at,
        reject_below,
        values["trials"],
        tuple(measured),
        llr,
        **voices,
        bands=_bands(folder, values.get("bands", [])),
        sequential=_sequential(folder, values.get("sequential", [])),
        scales=read_scales_table(folder, values.get("scales", [])),
    )


def _sequential(folder: Path, rows: list[object]) -> tuple[SequentialBoundaries, ...]:
    found = tuple(read_boundaries_table(folder, row) for row in rows)
    names = [(one.profile, one.target_far, one.target_frr) for one in found]
    if len(set(names)) < len(names):
        raise ModelUnusable(
            folder, f"{CARD_NAME}: calibration.sequential has a profile twice for the same rates"
        )
    return found


def _bands(folder: Path, rows: list[object]) -> tuple[BandThresholds, ...]:
    found = tuple(
        BandThresholds(**check_keys(folder, "calibration.bands.", row, _BAND_KEYS)) for row in rows
    )
    pairs = [one.pair for one in found]
    if len(set(pairs)) < len(pairs) or not set(pairs) <= set(BAND_PAIRS):
        pairs_known = ", ".join(BAND_PAIRS)
        raise ModelUnusable(
            folder, f"{CARD_NAME}: calibration.bands needs each of {pairs_known} once at most"
        )
    if not all(-1.0 <= one.reject_below <= one.accept_at <= 1.0 for one in found):
        raise ModelUnusable(
            folder, f"{CARD_NAME}: calibration.bands needs -1 <= reject_below <= accept_at <= 1"
        )
    return found
