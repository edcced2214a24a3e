from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from speakerd_server.store.enrolment import EnrolmentStore
from speakerd_server.store.erase import wal_path
from speakerd_server.store.open_store import StoreSettings
from support import store_process
from support.recordings import DOMAIN, MODEL, Opener, marked_recording, marked_seeds


def process(role: str, path: Path, seed: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, store_process.__file__, role, str(path), str(seed)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def killed_after(running: subprocess.Popen[str], first_line: str, wait_s: float) -> list[str]:
    """Kill -9 a process some time after its first line; give all lines that it finished."""
    with running:
        assert running.stdout is not None
        line = running.stdout.readline()
        assert line.startswith(first_line)
        time.sleep(wait_s)
        running.kill()
        said = line + running.stdout.read()
    assert running.returncode == -signal.SIGKILL
    return said[: said.rfind("\n")].splitlines()


def expected(lines: list[str]) -> tuple[set[int], set[int]]:
    """Give the seeds that must be enrolled, and those that may be (one change under way)."""
    known: set[int] = set()
    for word, number in (line.split() for line in lines):
        if word == "enrolled":
            known.add(int(number))
        elif word == "deleted":
            known.remove(int(number))
    word, number = lines[-1].split()
    open_change = {int(number)} if word in ("enrolling", "deleting") else set()
    return known - open_change, known | open_change


@pytest.mark.parametrize("round_number", range(4))
def test_nothing_acknowledged_is_lost_and_nothing_erased_comes_back_after_kill_9(
    store_path: Path, round_number: int
) -> None:
    wait_s = random.Random(round_number).uniform(0.0, 0.4)
    lines = killed_after(process("change", store_path, 0), "enrolling", wait_s)
    must, may = expected(lines)
    store = EnrolmentStore(StoreSettings(store_path), [DOMAIN])
    found = {int(one.speaker_id) for one in store.speakers(DOMAIN, None, 100_000)}
    assert must <= found <= may
    # Before any further change: an erasure that the kill cut short is finished by opening.
    assert marked_seeds(store_path.parent) == found
    assert wal_path(store_path).stat().st_size == 0
    verdict = store.record.connection.execute("PRAGMA integrity_check").fetchall()
    assert verdict == [("ok",)]
    for seed in found:
        hit = store.search(DOMAIN, MODEL, marked_recording(seed).sum, 1)
        assert hit.compared == len(found)
    store.close()


def test_an_erasure_cut_short_after_its_commit_is_finished_at_the_next_start(
    open_store: Opener, store_path: Path
) -> None:
    first = open_store()
    for seed in (1, 2):
        first.enrol(DOMAIN, str(seed), marked_recording(seed))
    first.close()
    dying = process("die", store_path, 0)
    dying.communicate()
    assert dying.returncode == -signal.SIGKILL
    assert marked_seeds(store_path.parent) == {1, 2}
    second = open_store()
    assert [one.speaker_id for one in second.speakers(DOMAIN, None, 10)] == ["2"]
    assert marked_seeds(store_path.parent) == {2}
