from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from speakerd_server.processes.arena import PAGE_BYTES
from speakerd_server.processes.windows_shared import (
    CANCEL,
    EMBEDDED,
    MOST_VALUES,
    RECORD,
    REFUSED,
    RELEASED,
    SUBMIT,
    Record,
    Slot,
    read_record,
    slot_bytes,
)
from speakerd_server.values import Window
from support.sounds import window

KINDS = (SUBMIT, CANCEL, EMBEDDED, REFUSED, RELEASED)

records = st.builds(
    Record,
    kind=st.sampled_from(KINDS),
    job=st.integers(0, 2**64 - 1),
    model=st.integers(0, 2**32 - 1),
    live=st.booleans(),
    offset=st.integers(0, 2**64 - 1),
    samples=st.integers(0, 2**32 - 1),
    frames=st.integers(0, 2**32 - 1),
)
shapes = st.tuples(st.integers(400, 40_000), st.integers(1, 300))


def memory(size_bytes: int) -> NDArray[np.uint8]:
    return np.zeros(size_bytes, np.uint8)


def made(samples: int, frames: int, seed: int) -> Window:
    rng = np.random.default_rng(seed)
    pcm = rng.standard_normal(samples).astype(np.float32)
    return Window(0, pcm, rng.integers(0, 1 << 40, frames), samples)


@given(st.lists(records, min_size=1, max_size=5))
def test_a_record_is_read_as_it_was_written_wherever_it_lies(several: list[Record]) -> None:
    content = b"".join(record.packed() for record in several)
    read = [read_record(content, at) for at in range(0, len(content), RECORD.size)]
    assert read == several


@given(st.binary(min_size=RECORD.size, max_size=RECORD.size))
def test_any_bytes_of_that_length_are_a_record(content: bytes) -> None:
    record = read_record(content, 0)
    assert record.packed()[4:] == content[4:]


def test_a_record_that_is_cut_short_is_not_read() -> None:
    with pytest.raises(struct.error):
        read_record(Record(SUBMIT, 1).packed()[:-1], 0)


def test_kinds_of_both_directions_are_different() -> None:
    assert len(set(KINDS)) == len(KINDS)


@given(shapes, st.integers(0, 100))
def test_a_window_lies_in_its_slot_as_it_was(shape: tuple[int, int], seed: int) -> None:
    samples, frames = shape
    before, after = 3 * PAGE_BYTES, 5 * PAGE_BYTES
    whole = memory(before + slot_bytes(samples, frames) + after)
    original = made(samples, frames, seed)
    Slot(whole, before, samples, frames).write(original)
    read = Slot(whole, before, samples, frames).window()
    np.testing.assert_array_equal(read.pcm, original.pcm)
    np.testing.assert_array_equal(read.rows, original.rows)
    assert not whole[:before].any()
    assert not whole[-after:].any()


@given(shapes, st.integers(1, MOST_VALUES))
def test_an_embedding_has_room_in_every_slot_and_leaves_flag_and_neighbours_alone(
    shape: tuple[int, int], dim: int
) -> None:
    samples, frames = shape
    size_bytes = slot_bytes(samples, frames)
    whole = memory(size_bytes + PAGE_BYTES)
    slot = Slot(whole, 0, samples, frames)
    slot.write(made(samples, frames, 0))
    slot.take(12.5, 3)
    embedding = np.arange(1, dim + 1, dtype=np.float32)
    slot.write_embedding(embedding)
    np.testing.assert_array_equal(Slot(whole, 0, samples, frames).embedding(dim), embedding)
    assert slot.taken
    assert not whole[size_bytes:].any()


def test_an_embedding_that_was_read_does_not_change_with_the_slot() -> None:
    slot = Slot(memory(slot_bytes(720, 3)), 0, 720, 3)
    slot.write_embedding(np.ones(5, np.float32))
    read = slot.embedding(5)
    slot.write_embedding(np.zeros(5, np.float32))
    assert read.tolist() == [1.0] * 5


def test_a_slot_is_taken_from_when_it_is_computed_until_it_is_written_anew() -> None:
    one = window(20)
    whole = memory(slot_bytes(one.pcm.size, 20))
    front_end, engine = (Slot(whole, 0, one.pcm.size, 20) for _ in range(2))
    front_end.write(one)
    assert not engine.taken
    engine.take(12.5, 3)
    assert front_end.taken
    assert front_end.taken_in == (12.5, 3)
    front_end.write(one)
    assert not engine.taken


@pytest.mark.parametrize(
    ("offset", "samples", "frames"),
    [
        (1, 720, 3),
        (PAGE_BYTES, 720, 3),
        (-PAGE_BYTES, 720, 3),
        (2**63, 720, 3),
        (0, 2**32 - 1, 3),
        (0, 720, 2**32 - 1),
        (0, 5000, 3),
    ],
)
def test_a_slot_beyond_the_memory_is_refused(offset: int, samples: int, frames: int) -> None:
    with pytest.raises(ValueError, match="outside"):
        Slot(memory(slot_bytes(720, 3)), offset, samples, frames)


@pytest.mark.parametrize(("samples", "frames"), [(0, 3), (399, 3), (720, 0), (0, 0)])
def test_a_slot_of_less_than_a_frame_is_refused(samples: int, frames: int) -> None:
    with pytest.raises(ValueError, match="no window"):
        Slot(memory(slot_bytes(720, 3)), 0, samples, frames)
