"""Reads model bundles: folders with `model.onnx` and `card.toml`, checked before use."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from speakerd_server.errors import ModelDamaged, ModelUnusable
from speakerd_server.values import Bundle, Card, ModelIdentity

ONNX_NAME = "model.onnx"
CARD_NAME = "card.toml"

_SHIPPED = Path(__file__).parent / "shipped"

_CARD_KEYS: Mapping[str, type] = {
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
_FRONT_END_KEYS: Mapping[str, type] = {"family": str, "fingerprint": str}
_CALIBRATION_KEYS: Mapping[str, type] = {
    "scale": str,
    "accept_at": float,
    "reject_below": float,
    "trials": str,
    "measured": list,
}
_MEASURED_KEYS: Mapping[str, type] = {
    "speech": str,
    "same_speaker_trials": int,
    "other_speaker_trials": int,
    "equal_error_percent": float,
    "false_accept_percent": float,
    "false_reject_percent": float,
}


def load_bundle(folder: Path) -> Bundle:
    """Read a bundle's card and check its ONNX file against it.

    Raises:
        ModelUnusable: A file is missing or the card is not as it must be.
        ModelDamaged: The ONNX file is not the one that the card describes.
    """
    card = read_card(folder)
    onnx_path = folder / ONNX_NAME
    try:
        digest = hashlib.sha256(onnx_path.read_bytes()).hexdigest()
    except OSError as error:
        raise ModelUnusable(folder, f"{ONNX_NAME} cannot be read ({error.strerror})") from error
    if digest != card.sha256:
        raise ModelDamaged(onnx_path, digest, card.sha256)
    return Bundle(card, onnx_path)


def read_card(folder: Path) -> Card:
    """Read the card of a bundle strictly.

    Raises:
        ModelUnusable: The card is missing, is no TOML, lacks a key, has an unknown or a wrong one.
    """
    try:
        table = tomllib.loads((folder / CARD_NAME).read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelUnusable(folder, f"{CARD_NAME} cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise ModelUnusable(folder, f"{CARD_NAME} is no TOML ({error})") from error
    for where, keys, values in _tables(folder, table):
        _check_keys(folder, where, keys, values)
    calibration = table.pop("calibration")
    front_end = table.pop("front_end")["fingerprint"]
    card = Card(
        identity=ModelIdentity(table.pop("name"), table.pop("version"), front_end),
        accept_at=calibration["accept_at"],
        reject_below=calibration["reject_below"],
        **table,
    )
    _check_numbers(folder, card, calibration["scale"])
    return card


def shipped_bundle(name: str = "campplus") -> Path:
    """Give the folder of the newest shipped version of a model.

    Raises:
        ModelUnusable: No such model is in the package.
    """
    versions = sorted((_SHIPPED / name).glob(f"*/{CARD_NAME}"), key=lambda path: path.parts)
    if not versions:
        raise ModelUnusable(
            _SHIPPED / name, f"the package has no such model, only {', '.join(list_shipped())}"
        )
    return versions[-1].parent


def list_shipped() -> tuple[str, ...]:
    """Give the names of the models in the package, sorted."""
    return tuple(sorted({path.parts[-3] for path in _SHIPPED.glob(f"*/*/{CARD_NAME}")}))


def _tables(
    folder: Path, table: dict[str, Any]
) -> list[tuple[str, Mapping[str, type], dict[str, Any]]]:
    _check_keys(folder, "", _CARD_KEYS, table)
    calibration = table["calibration"]
    _check_keys(folder, "calibration.", _CALIBRATION_KEYS, calibration)
    measured = [("calibration.measured.", _MEASURED_KEYS, row) for row in calibration["measured"]]
    return [("front_end.", _FRONT_END_KEYS, table["front_end"]), *measured]


def _check_keys(folder: Path, where: str, keys: Mapping[str, type], values: object) -> None:
    if not isinstance(values, dict):
        raise ModelUnusable(folder, f"{CARD_NAME}: {where} must be a table")
    unknown, missing = sorted(set(values) - set(keys)), sorted(set(keys) - set(values))
    if unknown or missing:
        problem = f"does not know {where}{unknown[0]}" if unknown else f"lacks {where}{missing[0]}"
        raise ModelUnusable(folder, f"{CARD_NAME} {problem}")
    for key, wanted in keys.items():
        if type(values[key]) is not wanted:
            raise ModelUnusable(folder, f"{CARD_NAME}: {where}{key} must be a {wanted.__name__}")


def _check_numbers(folder: Path, card: Card, scale: str) -> None:
    positive = (card.sample_rate_hz, card.dim, card.samples_per_chunk, card.min_frames)
    if min(positive) < 1:
        raise ModelUnusable(folder, f"{CARD_NAME}: rates and sizes must be positive")
    if scale != "cosine" or not -1.0 <= card.reject_below <= card.accept_at <= 1.0:
        raise ModelUnusable(
            folder, f"{CARD_NAME}: calibration needs -1 <= reject_below <= accept_at <= 1 in cosine"
        )
