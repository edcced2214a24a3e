from __future__ import annotations

import mmap
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from speakerd_server.processes.arena import PAGE_BYTES, Allocator, mapped, rounded, shared_file

SIZE_BYTES = 40 * PAGE_BYTES


@given(st.integers(0, 1 << 40))
def test_a_size_is_rounded_up_by_less_than_a_page(size_bytes: int) -> None:
    assert rounded(size_bytes) % PAGE_BYTES == 0
    assert 0 <= rounded(size_bytes) - size_bytes < PAGE_BYTES


def test_what_does_not_fit_is_refused_and_takes_nothing() -> None:
    allocator = Allocator(SIZE_BYTES)
    assert allocator.take(SIZE_BYTES + 1) is None
    assert allocator.take(SIZE_BYTES) == 0
    assert allocator.take(1) is None
    assert allocator.free_bytes == 0
    allocator.give_back(0, SIZE_BYTES)
    assert allocator.free_bytes == SIZE_BYTES


def test_room_in_pieces_is_no_room_for_what_is_larger_than_each() -> None:
    allocator = Allocator(SIZE_BYTES)
    offsets = [allocator.take(PAGE_BYTES) for _ in range(40)]
    for offset in offsets[::2]:
        assert offset is not None
        allocator.give_back(offset, PAGE_BYTES)
    assert allocator.free_bytes == SIZE_BYTES // 2
    assert allocator.take(PAGE_BYTES + 1) is None
    assert allocator.take(PAGE_BYTES) == 0


class Taking(RuleBasedStateMachine):
    """Takes and gives back at random and keeps account of every page in the plainest way."""

    def __init__(self) -> None:
        super().__init__()
        self.allocator = Allocator(SIZE_BYTES)
        self.taken: dict[int, int] = {}

    def free_runs(self) -> list[int]:
        pages = bytearray(SIZE_BYTES // PAGE_BYTES)
        for offset, size_bytes in self.taken.items():
            for page in range(offset // PAGE_BYTES, (offset + rounded(size_bytes)) // PAGE_BYTES):
                assert not pages[page], "a page was given twice"
                pages[page] = 1
        return [PAGE_BYTES * len(run) for run in bytes(pages).split(b"\1") if run]

    @rule(size_bytes=st.integers(1, 12 * PAGE_BYTES))
    def take(self, size_bytes: int) -> None:
        fits = max(self.free_runs(), default=0) >= size_bytes
        offset = self.allocator.take(size_bytes)
        assert (offset is not None) == fits
        if offset is not None:
            assert offset % PAGE_BYTES == 0
            assert 0 <= offset <= SIZE_BYTES - size_bytes
            self.taken[offset] = size_bytes

    @precondition(lambda self: self.taken)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        offset = data.draw(st.sampled_from(sorted(self.taken)))
        self.allocator.give_back(offset, self.taken.pop(offset))

    @invariant()
    def nothing_is_lost(self) -> None:
        assert self.allocator.free_bytes == sum(self.free_runs())


TestTaking = Taking.TestCase


def test_once_everything_is_back_the_whole_span_can_be_taken_again() -> None:
    allocator = Allocator(SIZE_BYTES)
    sizes = [1, 100, 64, 65, 700, 3]
    offsets = [allocator.take(size_bytes) for size_bytes in sizes]
    for at in (3, 0, 5, 1, 4, 2):
        offset = offsets[at]
        assert offset is not None
        allocator.give_back(offset, sizes[at])
    assert allocator.take(SIZE_BYTES) == 0


def test_shared_memory_begins_as_zeros_and_outlives_its_descriptor() -> None:
    descriptor = shared_file(1000)
    one, other = mapped(descriptor), mapped(descriptor)
    os.close(descriptor)
    assert one[:] == bytes(1000)
    one[10:13] = b"abc"
    assert other[10:13] == b"abc"
    one.close()
    other.close()


def test_another_process_sees_and_changes_what_is_shared() -> None:
    descriptor = shared_file(64)
    memory = mapped(descriptor)
    memory[0] = 41
    program = "import mmap, sys; m = mmap.mmap(int(sys.argv[1]), 64); m[1] = m[0] + 1"
    command = [sys.executable, "-c", program, str(descriptor)]
    subprocess.run(command, pass_fds=[descriptor], check=True, timeout=15)
    os.close(descriptor)
    assert memory[1] == 42
    memory.close()


def test_shared_memory_is_not_handed_to_a_process_that_is_not_meant_to_have_it() -> None:
    descriptor = shared_file(64)
    assert not os.get_inheritable(descriptor)
    os.close(descriptor)


def test_a_system_without_nameless_memory_has_a_file_without_a_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(os, "memfd_create")
    descriptor = shared_file(mmap.PAGESIZE + 1)
    memory = mapped(descriptor)
    assert memory[:] == bytes(mmap.PAGESIZE + 1)
    assert os.fstat(descriptor).st_nlink == 0
    os.close(descriptor)
    memory.close()
