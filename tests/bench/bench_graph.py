"""Windows per second on one core: our CAM++ graph against the plain export, int8 against float32.

    SPEAKERD_CHECKPOINT=FILE .venv/bin/python tests/bench/bench_graph.py

Prints one JSON line. Both sides take turns in one process with one thread each, on the same
windows; medians over the rounds, of the thread's CPU time and of wall time. `network`: from
features to embeddings on both sides; the bar is a ratio of 1.3. `int8`: from PCM on both sides.
Needs the export extra for the plain side (`make setup-export`); without it that part is null.
"""

from __future__ import annotations

import importlib.util
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from speakerd_server.engine.onnxruntime_cpu import OnnxRuntimeCpu
from speakerd_server.models.bundle import load_bundle, shipped_bundle
from speakerd_server.values import Float32
from speakerd_server.windows.slicer import Slicer
from support.speech import eval_ids, eval_utterance

BATCHES = (1, 8)
FRAMES = 198
ROUNDS = {1: 60, 8: 15}
Run = Callable[[], Float32]


def main() -> None:
    pcm, rows = windows(max(BATCHES))
    result = {"bench": "graph", "frames": FRAMES, "onnxruntime": ort.__version__}
    result |= {"network": network(pcm), "int8": eight_bits(pcm, rows)}
    print(json.dumps(result))


def windows(count: int) -> tuple[Float32, npt.NDArray[np.int64]]:
    """Give full windows of different speakers: float32[count, N] and int64[count, T]."""
    chosen = []
    for name in eval_ids()[:: len(eval_ids()) // count][:count]:
        (first, *_) = Slicer(32000, 3).push(eval_utterance(name))
        chosen.append(first)
    return np.stack([one.pcm for one in chosen]), np.stack([one.rows for one in chosen])


def network(pcm: Float32) -> list[dict[str, object]] | None:
    """Compare the networks alone; None without torch."""
    if importlib.util.find_spec("torch") is None:
        sys.stderr.write("torch is not installed: no plain export to compare with\n")
        return None
    from speakerd_server.models.front_end import FAMILIES, front_end
    from support.checkpoint import real_checkpoint
    from support.plain_campplus import plain_export

    log_mel = np.stack([front_end(FAMILIES["3dspeaker"]).log_mel(one) for one in pcm])
    feats = np.asarray(log_mel - log_mel.mean(axis=1, keepdims=True), np.float32)
    plain, ours = (session(one) for one in (plain_export(real_checkpoint()), our_graph()))
    rows = []
    for batch in BATCHES:
        value = {"feats": feats[:batch]}
        runs = {"plain": partial(embed, plain, value), "ours": partial(embed, ours, value)}
        rows.append(compared(runs, batch))
    return rows


def our_graph() -> bytes:
    """Build CAM++ from features with the real weights."""
    from speakerd_server.models.campplus import DIM, MIN_FRAMES, CamPlusPlus
    from speakerd_server.models.checkpoint import read_checkpoint
    from speakerd_server.models.embedder import Network, features_graph
    from speakerd_server.models.front_end import MEL_BINS
    from speakerd_server.models.parameters import Parameters
    from support.checkpoint import real_checkpoint

    weights = read_checkpoint(real_checkpoint())
    network = Network(
        DIM,
        MEL_BINS,
        MIN_FRAMES,
        lambda graph, value: CamPlusPlus(graph, Parameters(weights)).add(value),
    )
    return features_graph(network, {}, half_weights=False)


def eight_bits(pcm: Float32, rows: npt.NDArray[np.int64]) -> list[dict[str, object]]:
    """Compare the shipped models from PCM."""
    exact, rounded = (
        OnnxRuntimeCpu(load_bundle(shipped_bundle(name)), threads=1)
        for name in ("campplus", "campplus-int8")
    )
    rows_of_result = []
    for batch in BATCHES:
        value = pcm[:batch], rows[:batch]
        runs = {"float32": partial(exact.embed, *value), "int8": partial(rounded.embed, *value)}
        rows_of_result.append(compared(runs, batch))
    return rows_of_result


def embed(network: ort.InferenceSession, value: dict[str, Float32]) -> Float32:
    return np.asarray(network.run(["embs"], value)[0], np.float32)


def session(content: bytes) -> ort.InferenceSession:
    """Load a graph as the engine does, on one core."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_mem_pattern = False
    options.log_severity_level = 3
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def compared(runs: Mapping[str, Run], batch: int) -> dict[str, object]:
    """Run both in turns; the ratio is the second's speed over the first's."""
    (first, _), (second, _) = runs.items()
    cosine = lowest_cosine(runs[first](), runs[second]())
    cpu: dict[str, list[float]] = {first: [], second: []}
    wall: dict[str, list[float]] = {first: [], second: []}
    for turn in range(ROUNDS[batch]):
        for name in (first, second) if turn % 2 else (second, first):
            begun = time.perf_counter(), time.thread_time()
            runs[name]()
            cpu[name].append(time.thread_time() - begun[1])
            wall[name].append(time.perf_counter() - begun[0])
    return {
        "batch": batch,
        "ratio": ratio(cpu[first], cpu[second]),
        "ratio_wall": ratio(wall[first], wall[second]),
        **{f"{name}_windows_per_cpu_s": speed(batch, cpu[name]) for name in runs},
        **{f"{name}_windows_per_s": speed(batch, wall[name]) for name in runs},
        "lowest_cosine": round(cosine, 9),
    }


def ratio(slow: list[float], fast: list[float]) -> float:
    return round(statistics.median(a / b for a, b in zip(slow, fast, strict=True)), 3)


def speed(batch: int, seconds: list[float]) -> float:
    return round(batch / statistics.median(seconds), 1)


def lowest_cosine(one: Float32, other: Float32) -> float:
    pair = one.astype(np.float64), other.astype(np.float64)
    lengths = np.linalg.norm(pair[0], axis=1) * np.linalg.norm(pair[1], axis=1)
    return float(((pair[0] * pair[1]).sum(axis=1) / lengths).min())


if __name__ == "__main__":
    main()
