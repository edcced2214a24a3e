from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import uvloop
from support.shared_ends import BareEngine
from support.spreading import Pair


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "engine-0"


@pytest.fixture
def engine(path: Path) -> Iterator[BareEngine]:
    made = BareEngine(path)
    yield made
    made.close()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    made = Pair(tmp_path)
    yield made
    made.one.close()
    made.two.close()


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run on the loop of a daemon's processes: it ends connections in ways of its own."""
    return {"uvloop": uvloop.new_event_loop}
