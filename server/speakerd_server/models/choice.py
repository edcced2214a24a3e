"""Which model the daemon loads: a shipped one by name, or a bundle's folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from speakerd_server.models.bundle import shipped_bundle


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """Which model is loaded."""

    default: str = "campplus"
    """Name of a shipped model, or the folder of a bundle (then with a '/' in it)."""


def find_bundle(name: str) -> Path:
    """Give the folder of a bundle; raises ModelUnusable for a name that is not shipped."""
    if "/" in name:
        return Path(name)
    return shipped_bundle(name)
