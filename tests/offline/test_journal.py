from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from speakerd_server.errors import OutputUnusable
from speakerd_server.offline.embedding import Embedded
from speakerd_server.offline.journal import Journal
from support.disk import mounted

DIM = 7
JOB: Mapping[str, str | int | None] = {"model": "m", "list": "l", "samples_per_chunk": 32000}


def embedded(seed: int) -> Embedded:
    values = np.random.default_rng(seed).standard_normal(DIM)
    return Embedded(values, windows=seed + 1, seconds=seed / 4)


def opened(path: Path, anew: bool = False, **other: str | int | None) -> Journal:
    return Journal(path, {**JOB, **other}, DIM, anew=anew)


def written(path: Path, count: int) -> list[int]:
    """Write records and give the file's length before and after each."""
    with opened(path) as journal:
        lengths = [path.stat().st_size]
        for place in range(count):
            journal.append(place, embedded(place))
            lengths.append(path.stat().st_size)
    return lengths


def append_many(journal: Journal, count: int) -> None:
    for place in range(count):
        journal.append(place, embedded(place))


def kept(journal: Journal) -> dict[int, bytes]:
    return {place: vector.tobytes() for place, vector in journal.embeddings()}


EXPECTED = {place: embedded(place).embedding.astype(np.float32).tobytes() for place in range(4)}


def test_what_was_appended_is_there_after_opening_again(tmp_path: Path) -> None:
    written(tmp_path / "x", 3)
    with opened(tmp_path / "x") as journal:
        assert journal.places == {0, 1, 2}
        assert kept(journal) == {place: EXPECTED[place] for place in range(3)}
        assert journal.windows == 1 + 2 + 3
        assert journal.seconds == 0.75


def test_records_come_in_the_lists_order_whenever_they_were_made(tmp_path: Path) -> None:
    with opened(tmp_path / "x") as journal:
        for place in (2, 0, 3):
            journal.append(place, embedded(place))
        assert list(kept(journal)) == [0, 2, 3]
    with opened(tmp_path / "x") as journal:
        journal.append(1, embedded(1))
        assert list(kept(journal).items()) == sorted(EXPECTED.items())


def test_a_journal_cut_at_any_byte_keeps_every_whole_record_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "x"
    lengths = written(path, 3)
    content = path.read_bytes()
    for length in range(len(content) + 1):
        path.write_bytes(content[:length])
        with opened(path) as journal:
            whole = max([0, *(n for n, end in enumerate(lengths) if end <= length)])
            assert journal.places == set(range(whole)), length
            for place in range(whole, 4):
                journal.append(place, embedded(place))
            assert kept(journal) == EXPECTED
        with opened(path) as journal:
            assert kept(journal) == EXPECTED


@given(data=st.data())
def test_damaged_records_are_cut_off_with_what_follows_them(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.partial"
    path.unlink(missing_ok=True)
    lengths = written(path, 4)
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(lengths[0], len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    whole = max(n for n, end in enumerate(lengths) if end <= at)
    with opened(path) as journal:
        assert journal.places == set(range(whole))
        assert path.stat().st_size == lengths[whole]


def test_a_hole_that_a_power_failure_left_is_cut_off(tmp_path: Path) -> None:
    lengths = written(tmp_path / "x", 2)
    with (tmp_path / "x").open("ab") as file:
        file.write(bytes(3 * (lengths[2] - lengths[1])))
    with opened(tmp_path / "x") as journal:
        assert journal.places == {0, 1}


@pytest.mark.parametrize(
    ("name", "value"), [("model", "other"), ("list", "other"), ("samples_per_chunk", -1)]
)
def test_another_job_is_refused_by_what_differs(
    tmp_path: Path, name: str, value: str | int
) -> None:
    written(tmp_path / "x", 2)
    with pytest.raises(OutputUnusable, match=f"another {name} .*now {value}.*--overwrite"):
        Journal(tmp_path / "x", {**JOB, name: value}, DIM, anew=False)
    with opened(tmp_path / "x") as journal:
        assert journal.places == {0, 1}


def test_another_job_may_begin_anew(tmp_path: Path) -> None:
    written(tmp_path / "x", 2)
    with opened(tmp_path / "x", anew=True, model="other") as journal:
        assert journal.places == set()
    with opened(tmp_path / "x", model="other") as journal:
        assert journal.places == set()


def test_the_same_job_goes_on_even_where_it_may_begin_anew(tmp_path: Path) -> None:
    written(tmp_path / "x", 2)
    with opened(tmp_path / "x", anew=True) as journal:
        assert journal.places == {0, 1}


@pytest.mark.parametrize("content", [b"My notes\n", b"My notes", b"\0" * 100])
def test_a_file_that_is_no_journal_is_left_alone(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    for anew in (False, True):
        with pytest.raises(OutputUnusable, match="no journal of an extraction; move it away"):
            opened(tmp_path / "x", anew=anew)
    assert (tmp_path / "x").read_bytes() == content


def test_two_at_once_are_refused(tmp_path: Path) -> None:
    with opened(tmp_path / "x") as journal:
        journal.append(0, embedded(0))
        with pytest.raises(OutputUnusable, match="another extraction writes it now"):
            opened(tmp_path / "x")
    with opened(tmp_path / "x") as journal:
        assert journal.places == {0}


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputUnusable, match="No such file"):
        opened(tmp_path / "none" / "x")


def test_a_full_disk_is_named_and_keeps_every_whole_record(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", 16 << 10) as disk:
        path = disk / "x"
        with opened(path) as journal:
            with pytest.raises(OutputUnusable, match="No space left"):
                append_many(journal, 10_000)
            done = len(journal.places)
        assert done > 50
        with opened(path) as journal:
            assert journal.places == set(range(done))


def test_a_finished_journal_goes(tmp_path: Path) -> None:
    with opened(tmp_path / "x") as journal:
        journal.remove()
    assert list(tmp_path.iterdir()) == []
