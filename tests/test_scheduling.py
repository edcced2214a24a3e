from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest
from speakerd_server import scheduling
from support.contest import contest, in_a_thread

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux has these policies")


def test_a_thread_that_stands_back_can_go_forward_for_a_while() -> None:
    def work() -> None:
        with scheduling.forward():
            assert os.sched_getscheduler(0) == os.SCHED_OTHER
        assert os.sched_getscheduler(0) == os.SCHED_OTHER
        scheduling.stand_back()
        assert os.sched_getscheduler(0) == os.SCHED_BATCH
        with scheduling.forward():
            assert os.sched_getscheduler(0) == os.SCHED_OTHER
        assert os.sched_getscheduler(0) == os.SCHED_BATCH

    in_a_thread(work)


def test_time_without_delays_is_that_of_the_work_however_busy_the_processor_is() -> None:
    def work() -> None:
        with contest():
            wall_s, delayed_s = time.perf_counter(), scheduling.delayed_s()
            begun_s = time.thread_time()
            while time.thread_time() - begun_s < 0.3:
                pass
            worked_s = time.thread_time() - begun_s
            delayed_s = scheduling.delayed_s() - delayed_s
            wall_s = time.perf_counter() - wall_s
        assert wall_s > 1.2 * worked_s, "nobody else was at work, so this has shown nothing"
        assert wall_s - delayed_s == pytest.approx(worked_s, rel=0.15)

    in_a_thread(work)


@pytest.mark.parametrize("content", [None, "", "1", "a b c"])
def test_where_the_system_tells_no_delay_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    told = tmp_path / "schedstat"
    if content is not None:
        told.write_text(content)
    monkeypatch.setattr(scheduling, "_DELAYS", told)
    assert scheduling.delayed_s() == 0.0
