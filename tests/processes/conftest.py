from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
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
