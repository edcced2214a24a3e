from __future__ import annotations

import os
from pathlib import Path

import pytest
from speakerd_server.engine.cpu import processors

ALLOWED = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("quota", "expected"),
    [("max 100000", ALLOWED), ("50000 100000", 1), ("100000 100000", 1), ("nonsense", ALLOWED)],
)
def test_a_containers_quota_bounds_the_processors(
    tmp_path: Path, quota: str, expected: int
) -> None:
    file = tmp_path / "cpu.max"
    file.write_text(quota)
    assert processors(file) == expected


def test_a_quota_never_gives_more_than_the_host(tmp_path: Path) -> None:
    file = tmp_path / "cpu.max"
    file.write_text("100000000 100000")
    assert processors(file) == processors(tmp_path / "absent") == ALLOWED
