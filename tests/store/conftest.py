from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from speakerd_server.store.enrolment import EnrolmentStore
from speakerd_server.store.open_store import StoreSettings
from support.recordings import DOMAIN, Opener


@pytest.fixture
def store_path(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    folder.mkdir()
    return folder / "speakerd.db"


@pytest.fixture
def open_store(store_path: Path) -> Iterator[Opener]:
    """Opens the store of this test; each one is closed at the end, open or not."""
    opened: list[EnrolmentStore] = []

    def opener() -> EnrolmentStore:
        opened.append(EnrolmentStore(StoreSettings(store_path), [DOMAIN, "other"]))
        return opened[-1]

    yield opener
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store: Opener) -> EnrolmentStore:
    return open_store()
