"""A closed loop of KServe's protocol against a real Triton, as against a daemon."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from speakerd_client.call_options import VerifyOptions
from speakerd_client.errors import NotFound, NotOffered
from speakerd_client.load import runs
from speakerd_client.load.kserve import FORMAT, GRPC, HTTP, KSERVE_KINDS
from speakerd_client.load.orders import Progress
from speakerd_client.load.plan import ClosedPlan
from speakerd_client.load.sound import tracks_of
from speakerd_server.models.bundle import load_bundle, shipped_bundle
from speakerd_server.offline.triton_repository import write_repository
from support.light import light_daemon
from support.remotes import PYTHON
from support.speech import VOICES
from support.triton import Triton

TRACKS = tracks_of([VOICES / "slt-call.flac"], encoding=FORMAT.encoding, rate_hz=16_000)


@pytest.mark.parametrize("kind", KSERVE_KINDS)
def test_a_daemon_that_ends_under_load_ends_the_loop_with_what_was_measured(
    tmp_path: Path, kind: str
) -> None:
    with light_daemon(tmp_path) as daemon:
        address = daemon.http if kind == HTTP else daemon.address

        def watch(progress: Progress, elapsed_s: float) -> None:
            if progress.done > 3:
                daemon.kill()

        plan = ClosedPlan(address, kind, (3,), 60.0)
        (row,) = asyncio.run(runs.run_closed(plan, TRACKS, watch=watch)).rows
    assert {error.reason for error in row.errors} <= {"CONNECTION_LOST", "NotReachable"}
    assert sum(error.count for error in row.errors) == 3
    assert row.latency_ms.count > 3


@pytest.mark.triton
@pytest.mark.timeout(120)
def test_a_triton_is_loaded_and_its_refusals_are_named(tmp_path: Path) -> None:
    write_repository(tmp_path, load_bundle(shipped_bundle()), PYTHON)
    none = VerifyOptions(model="none")
    with Triton(tmp_path) as triton:
        for kind, address, other in (
            (GRPC, triton.address, triton.http),
            (HTTP, triton.http, triton.address),
        ):
            plan = ClosedPlan(address, kind, (1, 4), 1.0)
            for row in asyncio.run(runs.run_closed(plan, TRACKS)).rows:
                assert row.errors == ()
                assert row.throughput > 0
            with pytest.raises(NotFound, match="unknown model"):
                asyncio.run(runs.run_closed(ClosedPlan(address, kind, options=none), TRACKS))
            with pytest.raises(NotOffered, match=f"what answers at {other} speaks"):
                asyncio.run(runs.run_closed(ClosedPlan(other, kind), TRACKS))
