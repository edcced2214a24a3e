"""KServe's protocol: speakerd over gRPC and HTTP, a real Triton, and the bare engine, in one run.

    .venv/bin/python tests/bench/kserve.py [--rounds 5] [--seconds 4] [--concurrency 1,8,32,64]

Prints one JSON line. 2.02 s utterances in a closed loop of `speakerctl load --kserve`; the sides
take turns in each round, and ratios are medians over the rounds. Triton serves the same model in
the repository that `speakerd model triton-repo --form python` writes, with an instance for each
core; without its wheel (`make setup-triton`) the line says so. `apart`: whoever is measured on all
cores but one, the load on that one; `together`: everything on all cores. Bars: of the bare engine
0.95 over gRPC and 0.90 over HTTP from concurrency 8 up, ahead of Triton in throughput and p99
everywhere.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pytest
from speakerd_client import Audio
from speakerd_client.load.closed_result import ClosedRow
from speakerd_client.load.kserve import FORMAT, GRPC, HTTP
from speakerd_client.load.plan import ClosedPlan
from speakerd_client.load.runs import run_closed
from speakerd_client.load.sound import Track
from speakerd_server.models.bundle import load_bundle, shipped_bundle
from speakerd_server.offline.triton_repository import PYTHON, Repository, write_repository
from support.bare import BareEngine
from support.cores import Cores, layouts, using
from support.daemon import Daemon
from support.speech import noise
from support.triton import Triton, TritonFailed

FRAMES = 200
TRACK = Track("2.02 s", Audio(noise(2.02).astype("<f4").tobytes(), FORMAT))
BATCH, QUEUE_DELAY_US = 8, 1000
Row = dict[str, object]


@dataclass(frozen=True)
class Side:
    """Somebody who is asked."""

    kind: str
    address: str


@dataclass(frozen=True)
class Wanted:
    """How long the bench is."""

    rounds: int
    seconds: float
    concurrencies: tuple[int, ...]


def main() -> None:
    wanted = _options()
    no_triton: list[str] = []
    found = {cores.name: layout(cores, wanted, no_triton) for cores in layouts()}
    facts: Row = {"bench": "kserve", "cores": os.cpu_count(), **vars(wanted)}
    print(json.dumps(facts | {"without_triton": no_triton[0] if no_triton else None} | found))


def layout(cores: Cores, wanted: Wanted, no_triton: list[str]) -> list[Row]:
    with using(cores.measured), tempfile.TemporaryDirectory() as folder:
        bare = BareEngine(frames=FRAMES, cores=len(cores.measured))
        daemon = Daemon(Path(folder))
        with daemon, triton_of(Path(folder), len(cores.measured), no_triton) as triton:
            sides = {
                "speakerd_grpc": Side(GRPC, daemon.address),
                "speakerd_http": Side(HTTP, daemon.http),
                **triton,
            }
            for side in sides.values():
                asked(side, cores, 4, min(1.0, wanted.seconds))
            return [row(cores, bare, sides, wanted, each) for each in wanted.concurrencies]


@contextmanager
def triton_of(folder: Path, cores: int, no_triton: list[str]) -> Iterator[Mapping[str, Side]]:
    """Run Triton over the shipped model; give no side, and say why, where it cannot be."""
    repository = Repository(PYTHON, False, "float32", BATCH, cores, QUEUE_DELAY_US)
    write_repository(folder / "repository", load_bundle(shipped_bundle()), repository)
    try:
        triton = Triton(folder / "repository")
    except (pytest.skip.Exception, pytest.fail.Exception) as why:
        no_triton.append(str(why))
        yield {}
        return
    try:
        triton.wait_until_ready()
    except TritonFailed as why:
        triton.stop()
        no_triton.append(str(why))
        yield {}
        return
    try:
        yield {
            "triton_grpc": Side(GRPC, triton.address),
            "triton_http": Side(HTTP, triton.http),
        }
    finally:
        triton.stop()


def asked(side: Side, cores: Cores, concurrency: int, seconds: float) -> ClosedRow:
    """Load a side; what is answered in the first tenth is not counted."""
    plan = ClosedPlan(side.address, side.kind, (concurrency,), seconds, seconds / 10)
    with using(cores.generator):
        return asyncio.run(run_closed(plan, [TRACK])).rows[0]


def row(
    cores: Cores, bare: BareEngine, sides: Mapping[str, Side], wanted: Wanted, concurrency: int
) -> Row:
    shape = bare.best(min(2.0, wanted.seconds), concurrency=concurrency)
    bare_per_s: list[float] = []
    rounds: dict[str, list[ClosedRow]] = {name: [] for name in sides}
    for _ in range(wanted.rounds):
        bare_per_s.append(bare.windows_per_s(shape, wanted.seconds))
        for name, side in sides.items():
            rounds[name].append(asked(side, cores, concurrency, wanted.seconds))
    return {
        "concurrency": concurrency,
        "bare_per_s": round(median(bare_per_s), 1),
        "bare_layout": str(shape),
        **{name: summed(loads, bare_per_s) for name, loads in rounds.items()},
        **compared(rounds),
    }


def summed(loads: list[ClosedRow], bare_per_s: list[float]) -> Row:
    ratios = [load.throughput / per_s for load, per_s in zip(loads, bare_per_s, strict=True)]
    return {
        "per_s": round(median(load.throughput for load in loads), 1),
        "ratio_to_bare": round(median(ratios), 3),
        "p50_ms": round(median(load.latency_ms.p50 or 0.0 for load in loads), 1),
        "p99_ms": round(median(load.latency_ms.p99 or 0.0 for load in loads), 1),
        "generator_cores": round(median(sum(load.generator.cores) for load in loads), 3),
        "errors": sum(failure.count for load in loads for failure in load.errors),
    }


def compared(rounds: Mapping[str, list[ClosedRow]]) -> Row:
    """Put speakerd beside Triton over the same protocol, round by round."""
    found: Row = {}
    for protocol in ("grpc", "http"):
        ours, theirs = rounds[f"speakerd_{protocol}"], rounds.get(f"triton_{protocol}", [])
        pairs = [(a, b) for a, b in zip(ours, theirs, strict=False) if b.throughput]
        if not pairs:
            continue
        throughput = median(a.throughput / b.throughput for a, b in pairs)
        p99 = median((a.latency_ms.p99 or 0.0) / (b.latency_ms.p99 or 1.0) for a, b in pairs)
        found[f"{protocol}_throughput_over_triton"] = round(throughput, 3)
        found[f"{protocol}_p99_over_triton"] = round(p99, 3)
    return found


def _options() -> Wanted:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each side in a round")
    parser.add_argument("--concurrency", default="1,8,32,64")
    given = parser.parse_args()
    concurrencies = tuple(int(each) for each in given.concurrency.split(","))
    return Wanted(given.rounds, given.seconds, concurrencies)


if __name__ == "__main__":
    main()
