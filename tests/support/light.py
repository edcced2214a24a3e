"""A daemon whose windows cost nothing and which has few places: what loads are tested against."""

from __future__ import annotations

from pathlib import Path

from support.daemon import Daemon, over_fake_engine

PLACES = 6
"""Live streams that it takes at once."""


def light_daemon(folder: Path) -> Daemon:
    """Make it, not started yet."""
    return over_fake_engine(folder, f"--calls-maximum-streams={PLACES}")
