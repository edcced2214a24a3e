"""Where the daemon's own time goes, part by part: microseconds of CPU for a message and a window.

    .venv/bin/python tests/bench/bench_parts.py

Prints one JSON line. Each part alone in this process, for 200 calls in turns, so that no call's
memory is at hand; medians over the rounds. A live call sends 20 messages for each window. What gRPC
takes for a message stands in `bench_transport.py`, what the network takes in `bench_embed.py`.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import faiss
import numpy as np
from bench.servers.null_daemon import NullBackend
from speakerd.v1 import verification_pb2 as pb
from speakerd_server.calls.claims import Claim, Target
from speakerd_server.calls.enrolments import LocalEnrolments
from speakerd_server.calls.models import LoadedModel, Models
from speakerd_server.calls.serving import CallSettings, Serving
from speakerd_server.engine.batcher import Batcher
from speakerd_server.engine.engine import ModelEngine
from speakerd_server.engine.engine_settings import EngineSettings
from speakerd_server.engine.lanes import Lanes
from speakerd_server.enrolled import NewRecording, Voiceprint
from speakerd_server.models.bundle import load_bundle, shipped_bundle
from speakerd_server.pipeline import Heard
from speakerd_server.policies import policy_for
from speakerd_server.quality.limits import QualitySettings
from speakerd_server.score.scales import Scorer
from speakerd_server.session import Session
from speakerd_server.session_settings import SessionSettings
from speakerd_server.store.enrolment import EnrolmentStore
from speakerd_server.store.faiss_index import VoiceprintIndex
from speakerd_server.store.open_store import StoreSettings
from speakerd_server.values import AudioFormat, Encoding, Utterance, Window
from speakerd_server.wire import result_convert
from support.speech import noise, pcm16

CALLS = 200
ROUNDS = 7
REPEATS = 400
SPEAKERS, SEARCHES = 100_000, 30
BUNDLE = load_bundle(shipped_bundle())
CARD = BUNDLE.card
EMBEDDING = np.linspace(-1.0, 1.0, CARD.dim, dtype=np.float32)
FORMATS = {
    "mulaw_8k": (AudioFormat(Encoding.MULAW, 8000), bytes(17 * i * i % 251 for i in range(800))),
    "pcm16_16k": (AudioFormat(Encoding.PCM16LE, 16000), pcm16(noise(0.1))),
}


def main() -> None:
    parts = {name: session_parts(*how) for name, how in FORMATS.items()}
    shared = asyncio.run(shared_parts())
    told = {"session": parts, "window": shared, "search": search_parts()}
    print(json.dumps({"bench": "parts", "unit": "us", **told}))


def session_parts(audio_format: AudioFormat, message: bytes) -> dict[str, float]:
    """Time a message that is only kept, and all that a window takes, its messages included."""
    sessions = [Session(SessionSettings(audio_format, CARD, 32000)) for _ in range(CALLS)]
    kept: list[float] = []
    total_us, windows = 0.0, 0
    for number in range(20 * (ROUNDS + 1)):
        begun_s = time.process_time()
        steps = [session.push(message) for session in sessions]
        for session, step in zip(sessions, steps, strict=True):
            for window in step.windows:
                session.absorb_embedding(window, EMBEDDING)
        taken_us = 1e6 * (time.process_time() - begun_s)
        if number >= 20:
            kept.append(taken_us / CALLS)
            total_us += taken_us
            windows += sum(len(step.windows) for step in steps)
    return {
        "message_kept": round(statistics.median(kept), 2),
        "window": round(total_us / windows, 1),
    }


async def shared_parts() -> dict[str, float]:
    """Time what follows a window: the engine's queue, the verdict, the answer."""
    with tempfile.TemporaryDirectory() as folder:
        store = EnrolmentStore(StoreSettings(Path(folder) / "x.db"), ["default"])
        total = EMBEDDING.astype(np.float64)
        recording = NewRecording(CARD.identity, total, 1, 48000, 16000, 1.0)
        store.enrol("default", "load", recording)
        batcher = Batcher(1, EngineSettings())
        await batcher.add("null", Lanes(CARD.dim, [NullBackend(CARD.dim)]), 32000)
        models, enrolments = Models(), LocalEnrolments(store, 16)
        models.add(LoadedModel(CARD, ModelEngine(batcher, "null"), "null"))
        serving = Serving(models, enrolments, CallSettings())
        window, utterance = heard_window()
        policy = policy_for(
            CARD,
            scale=None,
            accept_at=None,
            reject_below=None,
            minimum_speech_s=1.0,
            maximum_speech_s=None,
        )
        common = (serving, "default", Target(("load",)), CARD, policy, QualitySettings())
        claim, plain_claim = Claim(*common, scorer=Scorer(CARD, BUNDLE.cohort)), Claim(*common)
        verdict = await claim.verdict(utterance, final=False)
        heard = Heard(utterance, final=False, received_samples=16000, complete_at_s=0.0)

        async def alone() -> None:
            await batcher.submit("null", window)

        async def crowd() -> None:
            await asyncio.gather(*(batcher.submit("null", window) for _ in range(8)))

        def answer() -> None:
            result = result_convert.result(
                heard, verdict, policy.scale, model_rate_hz=16000, wire_rate_hz=8000
            )
            pb.StreamVerifyResponse(update=result).SerializeToString()

        parts = {
            "engine_alone": await timed(alone),
            "engine_in_a_crowd_of_8": await timed(crowd) / 8,
            "verdict": await timed(lambda: claim.verdict(utterance, final=False)),
            "verdict_without_a_cohort": await timed(
                lambda: plain_claim.verdict(utterance, final=False)
            ),
            "answer": await timed(plain(answer)),
        }
        await batcher.stop()
        await enrolments.close()
    return {name: round(us, 1) for name, us in parts.items()}


def search_parts() -> dict[str, float]:
    """Time a search among 100 000 voiceprints, and among groups of them: wall, on one core."""
    faiss.omp_set_num_threads(1)
    index, random = VoiceprintIndex(["default"]), np.random.default_rng(0)
    for number in range(SPEAKERS):
        vector = random.standard_normal(CARD.dim).astype(np.float32)
        vector /= np.linalg.norm(vector)
        index.put("default", f"p{number}", Voiceprint(f"p{number}", CARD.identity, vector))
    groups = {
        "whole_domain": None,
        "group_of_10": 10,
        "group_of_1000": 1_000,
        "group_of_10000": 10_000,
    }
    for name, size in groups.items():
        index.groups.put("default", name, [f"p{9 * n}" for n in range(size or 0)])
    return {
        name: round(searched(index, None if size is None else name), 1)
        for name, size in groups.items()
    }


def searched(index: VoiceprintIndex, group: str | None) -> float:
    times = []
    for _ in range(SEARCHES):
        begun_s = time.perf_counter()
        index.search("default", CARD.identity, EMBEDDING, 10, group)
        times.append(1e6 * (time.perf_counter() - begun_s))
    return statistics.median(times)


def heard_window() -> tuple[Window, Utterance]:
    audio_format, message = FORMATS["mulaw_8k"]
    session = Session(SessionSettings(audio_format, CARD, 32000))
    while True:
        for window in session.push(message).windows:
            return window, session.absorb_embedding(window, EMBEDDING)[0]


def plain(work: Callable[[], None]) -> Callable[[], Any]:
    async def wrapped() -> None:
        work()

    return wrapped


async def timed(work: Callable[[], Any]) -> float:
    """Give the median of the rounds in microseconds of this process's CPU."""
    rounds = []
    for _ in range(ROUNDS):
        begun_s = time.process_time()
        for _ in range(REPEATS):
            await work()
        rounds.append(1e6 * (time.process_time() - begun_s) / REPEATS)
    return statistics.median(rounds)


if __name__ == "__main__":
    main()
