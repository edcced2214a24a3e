"""Where a calibration is kept: a profile, one file for one channel type, or a bundle's card.

A profile is TOML: `format`, the table `model` (name, version and front end's fingerprint of what
made the embeddings) and the table `llr`, which is that of a card's `calibration.llr`. A file of
boundaries has the tables `sequential` in its place, as many as were learnt into it.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import tomli_w

from speakerd_server.cards import (
    Bundle,
    Calibration,
    Card,
    LlrCalibration,
    SequentialBoundaries,
)
from speakerd_server.errors import ModelUnusable, OutputUnusable, ProfileUnusable
from speakerd_server.models.boundaries import boundaries_table, read_boundaries_table
from speakerd_server.models.bundle import write_whole
from speakerd_server.models.card import (
    CARD_NAME,
    LLR_KEYS,
    LLR_RANGE_KEYS,
    card_text,
    llr_table,
    read_card,
    read_llr,
)
from speakerd_server.models.card_tables import Keys
from speakerd_server.values import ModelIdentity, ScoreScale

FORMAT = "speakerd-calibration-1"
"""What the first line of a profile says."""

BOUNDARIES_FORMAT = "speakerd-boundaries-1"
"""The same of a file of boundaries."""

_LONGEST_BYTES = 1 << 20
_KEYS: Keys = {"format": str, "model": dict, "llr": dict}
_BOUNDARIES_KEYS: Keys = {"format": str, "model": dict, "sequential": list}
_MODEL_KEYS: Keys = {"name": str, "version": str, "front_end": str}


def write_profile(path: Path, identity: ModelIdentity, llr: LlrCalibration) -> None:
    """Write a calibration of one model as a profile, whole or not at all.

    Raises:
        OutputUnusable: The file cannot be written.
    """
    model = {key: getattr(identity, key) for key in _MODEL_KEYS}
    _write(path, tomli_w.dumps({"format": FORMAT, "model": model, "llr": llr_table(llr)}))


def read_profile(
    path: Path, identity: ModelIdentity | None, profile: str | None = None
) -> LlrCalibration:
    """Read a profile strictly.

    Args:
        path: The file.
        identity: The model that made the embeddings; None where nobody knows (a scp of embeddings).
        profile: The channel type that it must be of; None: any.

    Raises:
        ProfileUnusable: The file cannot be read, is no profile, has a key too few or too many or a
            wrong one, or is a profile of another model or channel type.
    """
    table = _file(path, _KEYS, FORMAT, identity)
    llr = _checked(path, "llr.", table["llr"], LLR_KEYS, LLR_RANGE_KEYS)
    if profile is not None and llr["profile"] != profile:
        raise ProfileUnusable(path, f"it is the profile {llr['profile']!r}, not {profile!r}")
    try:
        return read_llr(path, llr)
    except ModelUnusable as error:
        raise ProfileUnusable(path, error.problem.removeprefix("calibration.")) from error


def with_profiles(bundles: Sequence[Bundle], paths: Sequence[Path]) -> list[Bundle]:
    """Give bundles with the calibrations of profiles, in place of those of the same channel type.

    Raises:
        ProfileUnusable: A file is no profile, one of a model that is not there, one of asnorm
            scores for a model without a cohort, or the second of a model for one channel type.
    """
    made_for: dict[tuple[ModelIdentity, str], Path] = {}
    changed = {one.card.identity: one for one in bundles}
    for path in paths:
        identity = _made_for(path, _checked(path, "", _read_table(path), _KEYS))
        if identity not in changed:
            there = ", ".join(str(one) for one in changed)
            raise ProfileUnusable(path, f"it is one of another model: {identity}, not {there}")
        bundle, llr = changed[identity], read_profile(path, identity)
        if llr.scale is ScoreScale.ASNORM and bundle.cohort is None:
            raise ProfileUnusable(path, "it is of asnorm scores, and the model has no cohort")
        first = made_for.setdefault((identity, llr.profile), path)
        if first != path:
            raise ProfileUnusable(path, f"{first} is the profile {llr.profile} of the model too")
        card = replace(bundle.card, calibration=_calibrated(bundle.card, llr))
        changed[identity] = replace(bundle, card=card)
    return list(changed.values())


def add_to_card(folder: Path, llr: LlrCalibration) -> None:
    """Write a calibration into a bundle's card, in place of one of the same profile name.

    The card is written whole or not at all; comments in it are lost.

    Raises:
        ModelUnusable: The card is not as it must be; it is left as it is.
        OutputUnusable: The folder cannot be written, as in an installed package.
    """
    card = read_card(folder)
    _write_card(folder, replace(card, calibration=_calibrated(card, llr)), "--profile-output")


def _calibrated(card: Card, llr: LlrCalibration) -> Calibration:
    others = tuple(one for one in card.calibration.llr if one.profile != llr.profile)
    return replace(card.calibration, llr=(*others, llr))


def write_boundaries(path: Path, identity: ModelIdentity, one: SequentialBoundaries) -> None:
    """Write boundaries to a file, whole or not at all, beside those of the same model in it.

    Raises:
        ProfileUnusable: What is there is no such file, or one of another model.
        OutputUnusable: The file cannot be written.
    """
    known = read_boundaries(path, identity) if path.exists() else ()
    model = {key: getattr(identity, key) for key in _MODEL_KEYS}
    tables = [boundaries_table(each) for each in _with(known, one)]
    _write(path, tomli_w.dumps({"format": BOUNDARIES_FORMAT, "model": model, "sequential": tables}))


def read_boundaries(path: Path, identity: ModelIdentity) -> tuple[SequentialBoundaries, ...]:
    """Read a file of boundaries strictly.

    Raises:
        ProfileUnusable: The file cannot be read, is none of boundaries, has a key too few or too
            many or a wrong one, or is one of another model.
    """
    table = _file(path, _BOUNDARIES_KEYS, BOUNDARIES_FORMAT, identity)
    try:
        return tuple(read_boundaries_table(path, row) for row in table["sequential"])
    except ModelUnusable as error:
        raise ProfileUnusable(path, error.problem.replace("calibration.", "")) from error


def add_boundaries_to_card(folder: Path, one: SequentialBoundaries) -> None:
    """Write boundaries into a bundle's card, as `add_to_card` does a calibration."""
    card = read_card(folder)
    known = _with(card.calibration.sequential, one)
    calibration = replace(card.calibration, sequential=known)
    _write_card(folder, replace(card, calibration=calibration), "--boundaries-output")


def _with(
    known: Sequence[SequentialBoundaries], one: SequentialBoundaries
) -> tuple[SequentialBoundaries, ...]:
    """Give all of them in a fixed order, `one` in place of that for the same profile and rates."""

    def name(each: SequentialBoundaries) -> tuple[float, float, str]:
        return (each.target_far, each.target_frr, each.profile)

    return tuple(sorted([each for each in known if name(each) != name(one)] + [one], key=name))


def _write_card(folder: Path, card: Card, option: str) -> None:
    try:
        _write(folder / CARD_NAME, card_text(card))
    except OutputUnusable as error:
        problem = f"{error.problem}; write a file of its own instead ({option})"
        raise OutputUnusable(error.path, problem) from error


def _file(path: Path, keys: Keys, form: str, identity: ModelIdentity | None) -> dict[str, Any]:
    """Read a file of this format and, unless it is None, of this model."""
    table = _checked(path, "", _read_table(path), keys)
    if table["format"] != form:
        raise ProfileUnusable(path, f"its format is {table['format']!r}, not {form!r}")
    made_for = _made_for(path, table)
    if identity is not None and made_for != identity:
        raise ProfileUnusable(path, f"it is one of another model: {made_for}, not {identity}")
    return table


def _made_for(path: Path, table: Mapping[str, Any]) -> ModelIdentity:
    return ModelIdentity(**_checked(path, "model.", table["model"], _MODEL_KEYS))


def _read_table(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(_LONGEST_BYTES + 1)
    except OSError as error:
        raise ProfileUnusable(path, f"it cannot be read ({error.strerror})") from error
    if len(content) > _LONGEST_BYTES:
        raise ProfileUnusable(path, f"it is longer than {_LONGEST_BYTES} bytes: no profile")
    try:
        return tomllib.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ProfileUnusable(path, f"it is no TOML ({error})") from error


def _checked(
    path: Path, where: str, values: Mapping[str, Any], keys: Keys, optional: Keys | None = None
) -> dict[str, Any]:
    """Give a table of these keys, each of its type, and only finite numbers."""
    known = {**keys, **(optional or {})}
    unknown, missing = sorted(set(values) - set(known)), sorted(set(keys) - set(values))
    if unknown or missing:
        problems = [f"{where}{key} is no key of a profile" for key in unknown[:1]]
        problems += [f"{where}{key} is missing" for key in missing[:1]]
        raise ProfileUnusable(path, " and ".join(problems))
    for key, value in values.items():
        if type(value) is not known[key]:
            raise ProfileUnusable(path, f"{where}{key} must be a {known[key].__name__}")
        if isinstance(value, float) and not math.isfinite(value):
            raise ProfileUnusable(path, f"{where}{key} must be a finite number, not {value}")
    return dict(values)


def _write(path: Path, text: str) -> None:
    try:
        write_whole(path, text.encode())
    except OSError as error:
        raise OutputUnusable(path, error.strerror or str(error)) from error
