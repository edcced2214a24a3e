from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from speakerd_server.processes.status_page import StatusPage


@contextmanager
def pages() -> Iterator[tuple[StatusPage, StatusPage]]:
    """The engine's page and a front end's view of it."""
    engine = StatusPage()
    yield engine, StatusPage(engine.descriptor)
    os.close(engine.descriptor)


def test_a_new_page_says_that_nothing_waits() -> None:
    with pages() as (_, front_end):
        assert front_end.windows == 0
        assert front_end.waited_s == 0.0


@given(st.integers(0, 1 << 62))
def test_a_front_end_reads_how_many_windows_the_engine_has(windows: int) -> None:
    with pages() as (engine, front_end):
        engine.write(windows, 0.0)
        assert front_end.windows == windows


def test_a_wait_grows_while_the_engine_says_nothing() -> None:
    with pages() as (engine, front_end):
        engine.write(3, 1.5)
        first_s = front_end.waited_s
        assert 1.5 <= first_s < 2.5
        time.sleep(0.02)
        assert front_end.waited_s >= first_s + 0.02
        engine.write(3, 0.0)
        assert front_end.waited_s == 0.0


def test_a_wait_is_never_negative() -> None:
    with pages() as (engine, front_end):
        engine.write(1, -1000.0)
        assert front_end.waited_s == 0.0


def test_the_clocks_of_two_processes_agree() -> None:
    with pages() as (engine, front_end):
        program = (
            "import sys\nfrom speakerd_server.processes.status_page import StatusPage\n"
            "StatusPage(int(sys.argv[1])).write(7, 100.0)"
        )
        command = [sys.executable, "-c", program, str(engine.descriptor)]
        begun_s = time.monotonic()
        subprocess.run(command, pass_fds=[engine.descriptor], check=True, timeout=15)
        assert front_end.windows == 7
        assert 100.0 <= front_end.waited_s <= 100.0 + time.monotonic() - begun_s


def test_what_is_no_page_cannot_be_read() -> None:
    reading, writing = os.pipe()
    with pytest.raises((ValueError, OSError)):
        StatusPage(reading)
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize("is_away", [True, False])
def test_a_front_end_reads_whether_the_engines_device_is_away(is_away: bool) -> None:
    with pages() as (engine, front_end):
        assert not front_end.is_away
        engine.write(1, 0.0, is_away)
        assert front_end.is_away is is_away
        assert front_end.windows == 1


def test_what_is_read_was_written_so_however_often_it_changes() -> None:
    with pages() as (engine, front_end):
        program = (
            "import sys\nfrom speakerd_server.processes.status_page import StatusPage\n"
            "page = StatusPage(int(sys.argv[1]))\nprint('begun', flush=True)\n"
            "while True:\n page.write(0, 0.0)\n page.write((1 << 40) + 1, 5.0)"
        )
        command = [sys.executable, "-c", program, str(engine.descriptor)]
        with subprocess.Popen(
            command, pass_fds=[engine.descriptor], stdout=subprocess.PIPE
        ) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            until_s = time.monotonic() + 0.5
            seen, waits = set(), []
            while time.monotonic() < until_s:
                seen.add(front_end.windows)
                waits.append(front_end.waited_s)
            writer.kill()
        assert seen == {0, (1 << 40) + 1}
        assert all(waited_s == 0.0 or 4.9 < waited_s < 10.0 for waited_s in waits)
