"""What the repository cannot bring along: speech and golden vectors too large, or not ours."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).resolve().parents[2]


def cannot_run(reason: str) -> NoReturn:
    """Skip the test, or fail it in CI, where everything that a test needs must be there."""
    if os.environ.get("SPEAKERD_REQUIRE_SHARED") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def shared_path(name: str) -> Path:
    """Give a path below the shared folder; skip the test, or fail it in CI, where it is absent."""
    folder = Path(os.environ.get("SPEAKERD_SHARED", ROOT.parent / "shared"))
    path = folder / name
    if not path.exists():
        cannot_run(f"{name} is not in the shared folder (set SPEAKERD_SHARED to where it is)")
    return path
