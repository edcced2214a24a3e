from __future__ import annotations

import asyncio
from array import array
from contextlib import ExitStack

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from speakerd_server import metrics
from speakerd_server.calls.places import Places
from speakerd_server.errors import Draining, TooManyCalls, TooManyStreams

MIB = 1 << 20


def counts_of(processes: int) -> memoryview[int]:
    return memoryview(array("q", [0] * Places.cells(processes)))


def places(streams: int = 2, calls: int = 2, mib: int = 64) -> Places:
    return Places(streams, calls, mib)


def test_one_live_call_too_many_is_refused_at_once_with_the_limit() -> None:
    here = places(streams=2)
    with here.stream(), here.stream():
        with pytest.raises(TooManyStreams) as refused, here.stream():
            pass
        assert refused.value.limit == 2
        assert here.streams == 2
    assert here.streams == 0
    with here.stream():
        assert here.streams == 1


def test_one_unary_call_too_many_is_refused_at_once() -> None:
    here = places(calls=2)
    with here.unary(0), here.unary(0):
        with pytest.raises(TooManyCalls), here.unary(0):
            pass
        assert here.open_calls == 2
    with here.unary(0):
        pass


def test_more_audio_of_unary_calls_than_may_be_is_refused_at_once() -> None:
    here = places(calls=10, mib=64)
    with here.unary(40 * MIB):
        with pytest.raises(TooManyCalls), here.unary(24 * MIB + 1):
            pass
        with here.unary(24 * MIB), pytest.raises(TooManyCalls), here.unary(1):
            pass
    with here.unary(64 * MIB):
        pass


def test_live_and_unary_calls_take_no_places_from_each_other() -> None:
    here = places(streams=1, calls=1)
    with here.stream(), here.unary(MIB):
        assert here.open_calls == 2


@pytest.mark.parametrize("error", [ValueError, asyncio.CancelledError, KeyboardInterrupt])
def test_a_place_is_free_however_its_call_ends(error: type[BaseException]) -> None:
    here = places(streams=1, calls=1)
    for _ in range(3):
        with pytest.raises(error), here.stream(), here.unary(64 * MIB):
            raise error
    assert here.open_calls == 0
    assert here.quiet.is_set()


def test_a_drain_refuses_new_calls_and_lets_the_others_go_on() -> None:
    here = places()
    with here.stream():
        here.draining = True
        with pytest.raises(Draining), here.stream():
            pass
        with pytest.raises(Draining), here.unary(1):
            pass
        assert here.open_calls == 1
    here.draining = False
    with here.stream():
        pass


async def test_who_waits_for_quiet_is_woken_by_the_end_of_the_last_call() -> None:
    here = places()
    assert here.quiet.is_set()
    with ExitStack() as stack:
        with here.stream():
            stack.enter_context(here.unary(1))
        waiting = asyncio.create_task(here.quiet.wait())
        await asyncio.sleep(0)
        assert not waiting.done()
    await asyncio.wait_for(waiting, 5)


def test_processes_share_the_limits_and_each_counts_its_own() -> None:
    counts = counts_of(3)
    one, two, three = (Places(3, 2, 64, counts, process) for process in range(3))
    with one.stream(), two.stream(), one.unary(60 * MIB):
        assert one.streams == two.streams == three.streams == Places.streams_in(counts) == 2
        assert (one.open_calls, two.open_calls, three.open_calls) == (2, 1, 0)
        assert Places.open_calls_in(counts) == 3
        with pytest.raises(TooManyCalls), three.unary(5 * MIB):
            pass
        with three.stream(), pytest.raises(TooManyStreams), two.stream():
            pass
        assert three.quiet.is_set()
        assert not two.quiet.is_set()
    assert not any(counts)


def test_the_calls_of_a_process_that_is_gone_are_forgotten_and_no_others() -> None:
    counts = counts_of(3)
    one, gone, three = (Places(9, 9, 64, counts, process) for process in range(3))
    with one.stream(), three.unary(7):
        with ExitStack() as stack:
            stack.enter_context(gone.stream())
            stack.enter_context(gone.unary(64 * MIB - 7))
            stack.pop_all()
        Places.clear(counts, 1)
        assert list(counts) == [1, 0, 0, 0, 0, 0, 0, 1, 7]
        again = Places(9, 9, 64, counts, 1)
        with again.unary(MIB):
            pass


def test_the_metric_tells_the_live_calls_of_this_process_alone() -> None:
    counts = counts_of(2)
    one, two = (Places(9, 9, 64, counts, process) for process in range(2))
    with one.stream(), one.stream(), two.stream():
        with two.stream():
            pass
        assert metrics.LIVE_STREAMS._value.get() == 1
    assert metrics.LIVE_STREAMS._value.get() == 0


class Calling(RuleBasedStateMachine):
    """Calls come and go in two processes, one of which may die; counts are kept beside."""

    def __init__(self) -> None:
        super().__init__()
        self.counts = counts_of(2)
        self.open: list[list[tuple[ExitStack, int | None]]] = [[], []]
        self.places = [Places(4, 4, 64, self.counts, process) for process in range(2)]

    def every(self) -> list[int | None]:
        return [kind for calls in self.open for _, kind in calls]

    @rule(process=st.integers(0, 1))
    def stream(self, process: int) -> None:
        fits = self.every().count(None) < 4
        stack = ExitStack()
        try:
            stack.enter_context(self.places[process].stream())
        except TooManyStreams:
            assert not fits
        else:
            assert fits
            self.open[process].append((stack, None))

    @rule(process=st.integers(0, 1), audio_bytes=st.integers(0, 40 * MIB))
    def unary(self, process: int, audio_bytes: int) -> None:
        taken = [kind for kind in self.every() if kind is not None]
        fits = len(taken) < 4 and sum(taken) + audio_bytes <= 64 * MIB
        stack = ExitStack()
        try:
            stack.enter_context(self.places[process].unary(audio_bytes))
        except TooManyCalls:
            assert not fits
        else:
            assert fits
            self.open[process].append((stack, audio_bytes))

    @precondition(lambda self: any(self.open))
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        calls = data.draw(st.sampled_from([calls for calls in self.open if calls]))
        stack, _ = calls.pop(data.draw(st.integers(0, len(calls) - 1)))
        stack.close()

    @rule(process=st.integers(0, 1))
    def die(self, process: int) -> None:
        for stack, _ in self.open[process]:
            stack.pop_all()
        self.open[process].clear()
        Places.clear(self.counts, process)
        self.places[process] = Places(4, 4, 64, self.counts, process)

    @invariant()
    def every_call_is_counted_once(self) -> None:
        assert Places.open_calls_in(self.counts) == len(self.every())
        assert self.places[0].streams == self.places[1].streams == self.every().count(None)
        for places_there, calls in zip(self.places, self.open, strict=True):
            assert places_there.open_calls == len(calls)
            assert places_there.quiet.is_set() == (not calls)


TestCalling = Calling.TestCase
