"""An extraction that was interrupted goes on where its journal ends, and never mixes two works."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import kaldiio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from speakerd_client import Embedding, ListedRecording, ModelIdentity, NotPossible, OutputUnusable
from speakerd_client.journal import JOURNAL_NAME, Journal, Work
from speakerd_client.kaldi import float_vector, write_pairs

MODEL = ModelIdentity("campplus", "1", "front-end-1")
LISTED = tuple(ListedRecording(name, Path(f"{name}.wav")) for name in ("a", "b", "ç", "d"))
WORK = Work(LISTED, "", None, None)


def embedding(*values: float, model: ModelIdentity = MODEL) -> Embedding:
    return Embedding("", values, 1, 0, 2.0, model)


def opened(folder: Path, work: Work = WORK, *, overwrite: bool = False) -> closing[Journal]:
    journal = Journal(folder, work, overwrite)
    journal.open()
    return closing(journal)


def kept(folder: Path, positions: list[int]) -> bytes:
    """Keep embeddings and leave."""
    with opened(folder) as journal:
        for position in positions:
            journal.add(position, embedding(position, 0.5))
    return (folder / JOURNAL_NAME).read_bytes()


def vectors(folder: Path, part: int) -> dict[str, list[float]]:
    found = kaldiio.load_scp(f"{folder}/xvector_{part:03d}.scp")
    return {name: vector.tolist() for name, vector in found.items()}


def test_results_in_any_order_are_written_in_the_lists_order(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        for position in (3, 0, 2):
            journal.add(position, embedding(position, 0.5))
        journal.finish(3)
    assert list(vectors(tmp_path, 0)) == ["a"]
    assert vectors(tmp_path, 1) == {"ç": [2, 0.5]}
    assert vectors(tmp_path, 2) == {"d": [3, 0.5]}
    assert not (tmp_path / JOURNAL_NAME).exists()


@pytest.mark.parametrize(("parts", "sizes"), [(1, [4]), (2, [2, 2]), (3, [2, 1, 1]), (4, [1] * 4)])
def test_parts_are_contiguous_and_even_as_those_of_the_triton_client(
    tmp_path: Path, parts: int, sizes: list[int]
) -> None:
    with opened(tmp_path) as journal:
        for position in range(4):
            journal.add(position, embedding(position))
        journal.finish(parts)
    read = [list(vectors(tmp_path, part)) for part in range(parts)]
    assert [len(part) for part in read] == sizes
    assert [name for part in read for name in part] == ["a", "b", "ç", "d"]


@given(st.data())
def test_a_cut_or_a_changed_byte_loses_what_follows_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    order = data.draw(st.permutations(range(4)))
    content = kept(folder, order)
    head_bytes = content.index(b"\n") + 1
    record_bytes = [len(LISTED[at].recording_id.encode()) + 1 + 18 + 4 for at in order]
    at = data.draw(st.integers(head_bytes, len(content) - 1))
    damaged = bytearray(content)
    if data.draw(st.booleans()):
        del damaged[at:]
    else:
        damaged[at] ^= data.draw(st.integers(1, 255))
    (folder / JOURNAL_NAME).write_bytes(damaged)
    whole = sum(head_bytes + sum(record_bytes[: n + 1]) <= at for n in range(4))
    with opened(folder) as journal:
        assert [journal.has(position) for position in order] == [n < whole for n in range(4)]
        assert journal.done == whole
        for position in order[whole:]:
            journal.add(position, embedding(position, 0.5))
        journal.finish(1)
    assert vectors(folder, 0) == {each.recording_id: [at, 0.5] for at, each in enumerate(LISTED)}


def test_a_cut_in_the_head_begins_anew(tmp_path: Path) -> None:
    content = kept(tmp_path, [0])
    for at in range(content.index(b"\n") + 1):
        (tmp_path / JOURNAL_NAME).write_bytes(content[:at])
        with opened(tmp_path) as journal:
            assert journal.done == 0


def test_what_holds_nothing_is_not_left(tmp_path: Path) -> None:
    with opened(tmp_path):
        assert (tmp_path / JOURNAL_NAME).exists()
    assert list(tmp_path.iterdir()) == []
    with opened(tmp_path) as journal:
        journal.finish(2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": "campplus/2"}, "another model;"),
        ({"samples_per_chunk": -1, "channel": 1}, "another samples_per_chunk and channel;"),
        ({"recordings": LISTED[:3]}, "another list;"),
        ({"recordings": (*LISTED[:3], ListedRecording("d", Path("e.wav")))}, "another list;"),
        ({"recordings": LISTED[::-1]}, "another list;"),
    ],
)
def test_another_work_is_refused_and_keeps_what_is_there(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    content = kept(tmp_path, [0, 2])
    given: dict[str, Any] = {"recordings": LISTED, "model": "", "samples_per_chunk": None}
    other = Work(**(given | {"channel": None} | change))
    with pytest.raises(OutputUnusable, match=words):
        opened(tmp_path, other)
    assert (tmp_path / JOURNAL_NAME).read_bytes() == content
    with opened(tmp_path, other, overwrite=True) as journal:
        assert journal.done == 0


def test_embeddings_of_two_models_are_never_mixed(tmp_path: Path) -> None:
    kept(tmp_path, [0])
    other = ModelIdentity("campplus", "2", "front-end-1")
    with opened(tmp_path) as journal:
        for wrong in (embedding(1, 0.5, model=other), embedding(1)):
            with pytest.raises(NotPossible, match="overwrite") as caught:
                journal.add(1, wrong)
            assert caught.value.reason == "MODEL_MISMATCH"
        assert not journal.has(1)


def test_finished_output_is_replaced_only_when_asked(tmp_path: Path) -> None:
    write_pairs(tmp_path, [[("old", float_vector([9.0]))]])
    with pytest.raises(OutputUnusable, match=r"holds finished output.*--overwrite"):
        opened(tmp_path)
    assert vectors(tmp_path, 0) == {"old": [9.0]}
    with opened(tmp_path, overwrite=True) as journal:
        journal.add(0, embedding(1.0))
        assert vectors(tmp_path, 0) == {"old": [9.0]}
    with opened(tmp_path) as journal:  # what was begun with leave goes on without
        assert journal.done == 1
        journal.finish(1)
    assert vectors(tmp_path, 0) == {"a": [1.0]}


def test_nothing_new_leaves_the_old_output(tmp_path: Path) -> None:
    write_pairs(tmp_path, [[("old", float_vector([9.0]))]])
    with opened(tmp_path, overwrite=True) as journal:
        journal.finish(1)
    assert vectors(tmp_path, 0) == {"old": [9.0]}


def test_two_runs_at_one_folder_are_refused(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        journal.add(0, embedding(1.0))
        for overwrite in (False, True):
            with pytest.raises(OutputUnusable, match="another extraction is writing there"):
                opened(tmp_path, overwrite=overwrite)
        journal.finish(1)
    assert vectors(tmp_path, 0) == {"a": [1.0]}


@pytest.mark.parametrize("content", [b"mine", b"mine\n", b"{}\n", b'{"format": 9}\nabc', b"\n"])
def test_a_file_of_somebody_else_is_not_touched(tmp_path: Path, content: bytes) -> None:
    (tmp_path / JOURNAL_NAME).write_bytes(content)
    with pytest.raises(OutputUnusable, match="is no unfinished extraction"):
        opened(tmp_path)
    assert (tmp_path / JOURNAL_NAME).read_bytes() == content


def a_file(path: Path) -> Path:
    path.write_text("mine")
    return path


@pytest.mark.parametrize(
    "folder",
    [
        lambda path: a_file(path / "file"),
        lambda path: a_file(path / "file") / "below",
        lambda path: Path("/proc/nowhere"),
    ],
)
def test_a_folder_that_cannot_be_written_is_named(
    tmp_path: Path, folder: Callable[[Path], Path]
) -> None:
    with pytest.raises(OutputUnusable, match=str(folder(tmp_path))):
        opened(folder(tmp_path))
