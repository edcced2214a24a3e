from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from speakerd_server import scheduling
from support.contest import contest, in_a_thread

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux has these policies")


def told(program: str, *before: str) -> list[str]:
    """Run lines in a process of their own, where `policy()` names the thread's policy."""
    names = (
        "import os, threading\nfrom speakerd_server import scheduling\n"
        "NAMES = {os.SCHED_OTHER: 'other', os.SCHED_BATCH: 'batch', os.SCHED_IDLE: 'idle'}\n"
        "def policy(): print(NAMES[os.sched_getscheduler(0)])\n"
    )
    command = [*before, sys.executable, "-c", names + program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=15)
    return done.stdout.split()


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


def test_threads_begin_as_the_one_that_starts_them() -> None:
    program = (
        "def begun():\n thread = threading.Thread(target=policy); thread.start(); thread.join()\n"
        "scheduling.stand_back(); begun()\n"
        "with scheduling.forward(): begun()\n"
        "policy()"
    )
    assert told(program) == ["batch", "other", "batch"]


def test_who_never_stood_back_does_not_after_coming_forward() -> None:
    program = "\nwith scheduling.forward(): policy()\npolicy()"
    assert told(program) == ["other", "other"]


def test_one_within_another_ends_where_it_began() -> None:
    program = (
        "scheduling.stand_back()\n"
        "with scheduling.forward():\n with scheduling.forward(): policy()\n policy()\npolicy()"
    )
    assert told(program) == ["other", "other", "batch"]


def test_whoever_fails_while_forward_stands_back_again() -> None:
    program = (
        "scheduling.stand_back()\n"
        "try:\n with scheduling.forward(): raise ValueError\nexcept ValueError: policy()"
    )
    assert told(program) == ["batch"]


def test_a_policy_that_an_operator_chose_is_left_alone() -> None:
    program = "scheduling.stand_back(); policy()\nwith scheduling.forward(): policy()\npolicy()"
    assert told(program, "chrt", "-i", "0") == ["idle"] * 3


def test_a_system_that_forbids_it_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "sched_setscheduler", forbidden)
    scheduling.stand_back()
    with scheduling.forward():
        pass


def test_a_system_without_such_policies_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "SCHED_BATCH", raising=False)
    scheduling.stand_back()
    with scheduling.forward():
        pass


def test_a_thread_that_gives_way_takes_no_other_with_it() -> None:
    before = os.getpriority(os.PRIO_PROCESS, 0)
    found: list[int] = []

    def work() -> None:
        scheduling.give_way()
        found.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    in_a_thread(work)
    assert found == [10]
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before
