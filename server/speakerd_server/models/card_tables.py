"""Tables of a card, checked strictly: keys, types, finite numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from speakerd_server.errors import ModelUnusable

CARD_NAME = "card.toml"

Keys = Mapping[str, type]
"""Names of a table's keys, and their types."""


def check_keys(
    folder: Path, where: str, values: object, keys: Keys, optional: Keys | None = None
) -> dict[str, Any]:
    """Give a table that has all of `keys`, perhaps some of `optional`, of the right types.

    `where` is how an error begins a key's name. Raises ModelUnusable.
    """
    if not isinstance(values, dict):
        raise ModelUnusable(folder, f"{where.rstrip('.')} must be a table")
    known = {**keys, **(optional or {})}
    unknown, missing = sorted(set(values) - set(known)), sorted(set(keys) - set(values))
    if unknown or missing:
        problem = f"does not know {where}{unknown[0]}" if unknown else f"lacks {where}{missing[0]}"
        raise ModelUnusable(folder, f"{CARD_NAME} {problem}")
    for key, value in values.items():
        if type(value) is not known[key]:
            wanted = known[key].__name__
            raise ModelUnusable(folder, f"{CARD_NAME}: {where}{key} must be a {wanted}")
        if isinstance(value, float) and not math.isfinite(value):
            raise ModelUnusable(folder, f"{CARD_NAME}: {where}{key} must be finite")
    return values


def exact(keys: Keys, values: Mapping[str, Any]) -> dict[str, Any]:
    """Give the values of `keys`; a whole number that stands for another is written as such."""
    return {key: float(values[key]) if kind is float else values[key] for key, kind in keys.items()}
