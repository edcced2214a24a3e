from __future__ import annotations

import random
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path

import faiss
import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from speakerd_server.errors import ErasureIncomplete, SpeakerUnknown, StoreUnavailable
from speakerd_server.store import sqlite as sqlite_module
from speakerd_server.store.enrolment import EnrolmentStore
from speakerd_server.store.erase import truncate_wal, wal_path
from speakerd_server.store.open_store import StoreSettings
from speakerd_server.values import SpeakerState
from support.recordings import (
    DOMAIN,
    MODEL,
    Opener,
    marked_recording,
    marked_seeds,
    recording,
    slices_found,
    vector,
)


def index_bytes(store: EnrolmentStore) -> bytes:
    return b"".join(
        faiss.serialize_index(shelf.index).tobytes() for shelf in store.index.shelves.values()
    )


SEEDS = st.integers(0, 2**32)


class Erasing(RuleBasedStateMachine):
    """Hundreds of rows come and go in any order; what was erased is never found again."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.store = self.opened()
        self.seed, self.dim = 0, 0
        self.known: dict[str, dict[str, int]] = {}

    def opened(self) -> EnrolmentStore:
        return EnrolmentStore(StoreSettings(self.folder / "s.db"), [DOMAIN])

    def enrol(self, speaker_id: str) -> None:
        self.seed += 1
        recording_id = self.store.enrol(
            DOMAIN, speaker_id, marked_recording(self.seed, self.dim)
        ).recording_id
        self.known.setdefault(speaker_id, {})[recording_id] = self.seed

    @initialize(dim=st.sampled_from((192, 256)), seed=SEEDS)
    def begin(self, dim: int, seed: int) -> None:
        self.dim = dim
        self.add_many(150, random.Random(seed))

    @rule(count=st.integers(1, 60), seed=SEEDS)
    def add(self, count: int, seed: int) -> None:
        self.add_many(count, random.Random(seed))

    def add_many(self, count: int, rng: random.Random) -> None:
        for _ in range(count):
            if self.known and rng.random() < 0.4:
                self.enrol(rng.choice(list(self.known)))
            else:
                self.enrol(f"{rng.getrandbits(64):x}" + "x" * rng.choice((0, 40, 240)))

    @precondition(lambda self: self.known)
    @rule(count=st.integers(1, 25), seed=SEEDS)
    def delete(self, count: int, seed: int) -> None:
        rng = random.Random(seed)
        for speaker_id in rng.sample(list(self.known), min(count, len(self.known))):
            recordings = self.known.pop(speaker_id)
            assert self.store.delete(DOMAIN, speaker_id) == len(recordings)
            self.files_hold_what_is_known_and_nothing_else()

    @precondition(lambda self: self.known)
    @rule(count=st.integers(1, 10), seed=SEEDS, again=st.booleans())
    def opt_out(self, count: int, seed: int, again: bool) -> None:
        rng = random.Random(seed)
        for speaker_id in rng.sample(list(self.known), min(count, len(self.known))):
            recordings = self.known.pop(speaker_id)
            assert self.store.opt_out(DOMAIN, speaker_id).recordings_erased == len(recordings)
            self.files_hold_what_is_known_and_nothing_else()
            if again:
                self.store.allow(DOMAIN, speaker_id)
                self.enrol(speaker_id)

    @precondition(lambda self: self.known)
    @rule(count=st.integers(1, 15), seed=SEEDS)
    def remove(self, count: int, seed: int) -> None:
        rng = random.Random(seed)
        for speaker_id in rng.sample(list(self.known), min(count, len(self.known))):
            recordings = self.known[speaker_id]
            removed = rng.sample(list(recordings), rng.randint(0, len(recordings)))
            self.store.update(DOMAIN, speaker_id, rng.choice((None, "name" * 50)), removed)
            for one in removed:
                del recordings[one]
            self.files_hold_what_is_known_and_nothing_else()

    @rule()
    def restart(self) -> None:
        self.store.close()
        self.store = self.opened()

    @invariant()
    def files_hold_what_is_known_and_nothing_else(self) -> None:
        live = {seed for recordings in self.known.values() for seed in recordings.values()}
        assert marked_seeds(self.folder) == live

    def teardown(self) -> None:
        try:
            verdict = self.store.record.connection.execute("PRAGMA integrity_check").fetchall()
            assert verdict == [("ok",)]
        finally:
            self.store.close()
            shutil.rmtree(self.folder)


TestErasing = Erasing.TestCase
TestErasing.settings = settings(
    max_examples=6, stateful_step_count=8, deadline=None, phases=[Phase.generate]
)


@pytest.mark.parametrize("erase", [EnrolmentStore.delete, EnrolmentStore.opt_out])
def test_an_erased_voiceprint_is_in_no_file_and_not_in_the_index(
    store: EnrolmentStore, store_path: Path, erase: Callable[[EnrolmentStore, str, str], object]
) -> None:
    for seed in range(20):
        store.enrol(DOMAIN, str(seed % 10), recording(seed))
    voiceprint = store.voiceprint(DOMAIN, "3", MODEL)
    assert voiceprint is not None
    content = voiceprint.vector.tobytes()
    slices = [content[start : start + 16] for start in range(0, len(content), 16)]
    assert all(one in index_bytes(store) for one in slices)
    assert slices_found(store_path.parent, [3, 13]) != []
    erase(store, DOMAIN, "3")
    assert slices_found(store_path.parent, [3, 13]) == []
    assert not any(one in index_bytes(store) for one in slices)
    assert wal_path(store_path).stat().st_size == 0


def test_a_failed_enrolment_leaves_no_byte_behind(
    store: EnrolmentStore, store_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.enrol(DOMAIN, "alice", recording(1))
    # Nothing fits into the page cache, so that pages go to the log before the commit.
    store.record.connection.execute("PRAGMA cache_size = 1")
    store.record.connection.execute("PRAGMA cache_spill = 1")

    def fail(*_: object) -> None:
        assert slices_found(store_path.parent, [2]) == [wal_path(store_path).name]
        raise sqlite3.OperationalError("planted")

    monkeypatch.setattr(store.record, "touch", fail)
    with pytest.raises(StoreUnavailable, match="planted"):
        store.enrol(DOMAIN, "alice", recording(2))
    assert slices_found(store_path.parent, [2]) == []
    assert len(store.speaker(DOMAIN, "alice").recordings) == 1


def test_an_erasure_that_cannot_be_finished_is_named_and_finished_by_the_next_call(
    store: EnrolmentStore, store_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.enrol(DOMAIN, "alice", recording(1))
    store.enrol(DOMAIN, "bob", recording(2))
    failing = [False, True, True]

    def truncate(connection: sqlite3.Connection, path: Path) -> None:
        if failing.pop(0):
            raise OSError("planted")
        truncate_wal(connection, path)

    monkeypatch.setattr(sqlite_module, "truncate_wal", truncate)
    with pytest.raises(ErasureIncomplete, match="send the call again"):
        store.delete(DOMAIN, "alice")
    assert store.state(DOMAIN, "alice") is None
    with pytest.raises(ErasureIncomplete):
        store.delete(DOMAIN, "alice")
    failing[:] = [False]
    with pytest.raises(SpeakerUnknown):
        store.delete(DOMAIN, "alice")
    assert slices_found(store_path.parent, [1]) == []
    for erase in (store.delete, store.opt_out):
        failing[:] = [True]
        with pytest.raises(StoreUnavailable, match="planted"):
            erase(DOMAIN, "bob")
        assert store.state(DOMAIN, "bob") is SpeakerState.ENROLLED


def test_an_opt_out_whose_erasure_cannot_be_finished_holds_and_is_finished_by_the_next_call(
    store: EnrolmentStore, store_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.enrol(DOMAIN, "alice", recording(1))
    failing = [False, True, False]

    def truncate(connection: sqlite3.Connection, path: Path) -> None:
        if failing.pop(0):
            raise OSError("planted")
        truncate_wal(connection, path)

    monkeypatch.setattr(sqlite_module, "truncate_wal", truncate)
    with pytest.raises(ErasureIncomplete, match="send the call again"):
        store.opt_out(DOMAIN, "alice")
    assert store.state(DOMAIN, "alice") is SpeakerState.OPTED_OUT
    assert store.opt_out(DOMAIN, "alice").recordings_erased == 0
    assert (failing, slices_found(store_path.parent, [1])) == ([], [])


def test_a_log_that_keeps_bytes_is_an_error(open_store: Opener, store_path: Path) -> None:
    store = open_store()
    store.enrol(DOMAIN, "alice", recording(1))

    class Lazy:
        """A connection whose checkpoint says it is done and does nothing."""

        def execute(self, _: str) -> sqlite3.Cursor:
            return store.record.connection.execute("SELECT 0, 0, 0")

    with pytest.raises(OSError, match="bytes are left"):
        truncate_wal(Lazy(), store_path)  # type: ignore[arg-type]


def test_every_byte_of_a_sum_lies_outside_the_pages_that_b_tree_balancing_copies(
    store: EnrolmentStore, store_path: Path
) -> None:
    for seed in range(40):
        store.enrol(DOMAIN, f"{seed}" + "x" * (seed % 3 * 100), recording(seed))
    store.close()
    content = store_path.read_bytes()
    wanted = [vector(seed).tobytes() for seed in range(40)]
    table_leaf, pages = 0x0D, range(0, len(content), 1024)
    leaves = [content[at : at + 1024] for at in pages if content[at] == table_leaf]
    assert len(leaves) > 10
    slices = [one[start : start + 8] for one in wanted for start in range(0, len(one), 8)]
    assert not any(slice_ in leaf for leaf in leaves for slice_ in slices)
