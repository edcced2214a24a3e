"""Fixtures of the client's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.daemon import Daemon
from support.light import light_daemon


@pytest.fixture(scope="session")
def light(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One `light_daemon` for all tests of loads."""
    with light_daemon(tmp_path_factory.mktemp("light")) as running:
        yield running
