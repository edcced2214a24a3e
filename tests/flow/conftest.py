"""What several flows over daemons of several processes share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support import fleet
from support.daemon import Daemon


@pytest.fixture
def daemons(tmp_path: Path) -> Iterator[fleet.Daemons]:
    """Ends all that were made however the test ends, and lets none of their processes stay."""
    made: list[Daemon] = []

    def make(*flags: str, folder: Path | None = None, temporary: str = "") -> Daemon:
        environment = {"TMPDIR": temporary} if temporary else {}
        daemon = Daemon(folder or tmp_path, "--workers=2", *flags, environment=environment)
        made.append(daemon)
        return daemon

    yield make
    for daemon in made:
        if daemon.process.poll() is None:
            daemon.kill()
        daemon.stop()
    for daemon in made:
        fleet.until(lambda folder=daemon.folder: not fleet.left_over(folder))  # type: ignore[misc]


@pytest.fixture
def temporary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a daemon makes its folder for socket files, whose paths must be short."""
    return tmp_path_factory.mktemp("t")
