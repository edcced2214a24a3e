"""Fixtures that every folder of tests shares."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from support.daemon import Daemon

# Every test has its timeout; a slow moment of the machine is no property of the code.
settings.register_profile("speakerd", deadline=None)
settings.load_profile("speakerd")


@pytest.fixture(scope="session")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One real daemon with the shipped model for all tests; use speaker ids of your own."""
    with Daemon(
        tmp_path_factory.mktemp("daemon"), "--calls-domains=default,other,empty,search"
    ) as running:
        yield running


@pytest.fixture
def own_daemon(tmp_path: Path) -> Iterator[Daemon]:
    """A real daemon for one test alone, not started yet: use it as a context manager."""
    running = Daemon(tmp_path)
    yield running
    if running.process.poll() is None:
        running.kill()
    running.stop()
