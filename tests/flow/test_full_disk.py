"""A disk that fills up: refused by name, nothing acknowledged is lost, usable again with room."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from speakerd.v1 import enrollment_pb2 as pb
from support import wire
from support.daemon import Daemon
from support.disk import mounted
from support.speech import noise, pcm16

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "disk", 1 << 20) as folder:
        yield folder


def test_a_full_disk_loses_nothing_that_was_acknowledged(small_disk: Path, tmp_path: Path) -> None:
    content = pcm16(noise(3.2))
    filler = small_disk / "filler"
    path = f"--store-path={small_disk / 'speakerd.db'}"
    acknowledged = []
    with Daemon(tmp_path, path) as running, wire.connected(running.address) as stubs:
        for number in range(3):
            wire.enroll(stubs, f"early-{number}", content)
            acknowledged.append(f"early-{number}")
        fill(filler)
        with pytest.raises(grpc.RpcError) as failed:
            enroll_many(stubs, content, acknowledged)
        refusal = wire.refusal(failed.value)
        assert refusal.code == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert refusal.reason == "STORE_FULL"
        assert listed(stubs) == sorted(acknowledged)
        filler.unlink()
        wire.enroll(stubs, "after", content)
        acknowledged.append("after")
        running.kill()
    with Daemon(tmp_path, path) as again, wire.connected(again.address) as stubs:
        assert listed(stubs) == sorted(acknowledged)


def fill(file: Path) -> None:
    with contextlib.suppress(OSError), file.open("wb", buffering=0) as written:
        for _ in range(1000):
            written.write(bytes(4096))


def enroll_many(stubs: wire.Stubs, content: bytes, acknowledged: list[str]) -> None:
    for number in range(200):
        wire.enroll(stubs, f"late-{number}", content)
        acknowledged.append(f"late-{number}")


def listed(stubs: wire.Stubs) -> list[str]:
    page = stubs.enrollment.ListSpeakers(pb.ListSpeakersRequest(page_size=1000))
    return [speaker.speaker_id for speaker in page.speakers]
