"""Speech and golden vectors that are too large, or not ours, to be kept in the repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def shared_path(name: str) -> Path:
    """Give a path below the shared folder; skip the test, or fail it in CI, where it is absent."""
    folder = Path(os.environ.get("SPEAKERD_SHARED", ROOT.parent / "shared"))
    path = folder / name
    if not path.exists():
        reason = f"{name} is not in the shared folder (set SPEAKERD_SHARED to where it is)"
        if os.environ.get("SPEAKERD_REQUIRE_SHARED") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return path
