"""`speakerd model quantize`: an 8-bit bundle of a float one, measured before it is written."""

from __future__ import annotations

import hashlib
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speakerd_server.cards import Bundle, Calibration, Card
from speakerd_server.engine.batch import embed_windows
from speakerd_server.engine.onnxruntime_cpu import OnnxRuntimeCpu
from speakerd_server.errors import GraphRefused, SpeakerdError
from speakerd_server.models.bundle import load_bundle, write_bundle
from speakerd_server.models.quantize import PRECISION, quantize, steps
from speakerd_server.offline.calibration_speech import Speech
from speakerd_server.values import ModelIdentity, Window

LOWEST_COSINE = 0.95
"""Default floor under the worst cosine to the float model on held-out windows."""
SAME_IN_ANY_BATCH = 1 - 1e-6
"""Least cosine between a window's embeddings alone and beside others."""
LICENCE_NAME = "LICENSE"

_MOST_HELD_OUT = 128
_BATCHES = (1, 8)
_ROUNDS = 9
_NOT_CALIBRATED = (
    "not calibrated; the float model's thresholds were not measured for this one: run speakerd"
    " evaluate --calibrate on trials of your own"
)

Embeddings = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Speed:
    """Windows per second on one core, both models in turns in one run."""

    batch: int
    """Windows embedded together."""
    float_windows_per_s: float
    """Of the float model."""
    windows_per_s: float
    """Of the 8-bit model."""
    ratio: float
    """Median over the rounds."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What 8 bits cost and gain."""

    mean_cosine: float
    """To the float model's embeddings of the held-out windows."""
    worst_cosine: float
    """Of the same."""
    batch_cosine: float
    """Worst between a held-out window embedded alone and with seven others."""
    held_out_windows: int
    """Behind the cosines."""
    speeds: tuple[Speed, ...]
    """By batch."""


@dataclass(frozen=True, slots=True)
class Quantized:
    """An 8-bit network, measured and not yet written."""

    card: Card
    """Of the bundle to write; its sha256 is that of `content`."""
    content: bytes
    """The ONNX file."""
    source: Bundle
    """What it was made of."""
    measured: Measured
    """Against the source."""

    def problem(self, lowest_cosine: float) -> str:
        """Say why it must not be used; empty where nothing speaks against it."""
        measured = self.measured
        if not measured.worst_cosine >= lowest_cosine:
            return (
                f"its worst cosine to the float model is {measured.worst_cosine:.5f}, at least"
                f" {lowest_cosine:g} is wanted; calibrate on more audio like that of its use, or"
                " allow it with --lowest-cosine"
            )
        if not measured.batch_cosine >= SAME_IN_ANY_BATCH:
            return (
                "the embedding of a window depends on what is beside it in a batch (cosine"
                f" {measured.batch_cosine:.7f}), so this network cannot be used in 8 bits"
            )
        return ""

    def write(self, folder: Path, cohort: bytes | None = None) -> Bundle:
        """Write the bundle, with the source's licence. Raises OutputUnusable."""
        write_bundle(folder, self.card, self.content, cohort)
        licence = self.source.onnx_path.with_name(LICENCE_NAME)
        if licence.is_file():
            (folder / LICENCE_NAME).write_bytes(licence.read_bytes())
        return load_bundle(folder)


def make_quantized(
    source: Bundle,
    identity: ModelIdentity,
    speech: Speech,
    done: Callable[[int], None],
    origin: str = "",
) -> Quantized:
    """Quantize a bundle's network and measure it on held-out windows.

    Args:
        source: Of a float network.
        identity: Of the 8-bit model: never that of the source.
        speech: Windows of the source's length.
        done: Told of each calibration window run; see `models.quantize.steps`.
        origin: For the card; empty: that of the source and how this was made of it.

    Raises:
        GraphRefused: The network is an 8-bit one already, or cannot be quantized.
        EngineFailed: A window could not be embedded.
    """
    if source.card.precision == PRECISION:
        problem = "it is int8 already; quantize the float model that it was made of"
        raise GraphRefused(source.onnx_path, problem)
    card = _card(source.card, identity, speech, origin)
    metadata = {"licence": card.licence, "name": f"{identity.name}/{identity.version}"}
    content = quantize(
        source.onnx_path, speech.calibration, metadata | {"origin": card.origin}, done
    )
    card = replace(card, sha256=hashlib.sha256(content).hexdigest())
    with tempfile.TemporaryDirectory() as folder:
        written = load_bundle(write_bundle(Path(folder), card, content))
        measured = measure(source, written, speech.held_out)
    return Quantized(card, content, source, measured)


def measure(source: Bundle, quantized: Bundle, windows: Sequence[Window]) -> Measured:
    """Compare an 8-bit bundle with its float one on windows. Raises EngineFailed."""
    wanted = min(len(windows), _MOST_HELD_OUT)
    used = [windows[at * len(windows) // wanted] for at in range(wanted)]
    backends = OnnxRuntimeCpu(source, threads=1), OnnxRuntimeCpu(quantized, threads=1)
    dim = source.card.dim
    exact, alone = (_embed(backend, used, dim, 1) for backend in backends)
    together = _embed(backends[1], used, dim, max(_BATCHES))
    cosines = _cosines(exact, alone)
    speeds = tuple(_speed(*backends, used, dim, batch) for batch in _BATCHES)
    return Measured(
        mean_cosine=float(cosines.mean()),
        worst_cosine=float(cosines.min()),
        batch_cosine=float(_cosines(alone, together).min()),
        held_out_windows=len(used),
        speeds=speeds,
    )


def _embed(backend: OnnxRuntimeCpu, windows: Sequence[Window], dim: int, batch: int) -> Embeddings:
    """Give float64[len(windows), dim]."""
    rows = []
    for start in range(0, len(windows), batch):
        for outcome in embed_windows(backend, windows[start : start + batch], dim):
            if isinstance(outcome, SpeakerdError):
                raise outcome
            rows.append(outcome)
    return np.stack(rows).astype(np.float64)


def _cosines(one: Embeddings, other: Embeddings) -> Embeddings:
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    cosines: Embeddings = (one * other).sum(axis=1) / lengths
    return cosines


def _speed(
    exact: OnnxRuntimeCpu, rounded: OnnxRuntimeCpu, windows: Sequence[Window], dim: int, batch: int
) -> Speed:
    """Time both in turns on the same windows; the first turn is not counted."""
    used = [windows[at % len(windows)] for at in range(batch)]
    taken: list[tuple[float, float]] = []
    for turn in range(_ROUNDS + 1):
        seconds = {}
        for backend in (exact, rounded) if turn % 2 else (rounded, exact):
            begin = time.perf_counter()
            _embed(backend, used, dim, batch)
            seconds[backend] = time.perf_counter() - begin
        if turn:
            taken.append((seconds[exact], seconds[rounded]))
    slow, fast = (statistics.median(column) for column in zip(*taken, strict=True))
    ratio = statistics.median(first / second for first, second in taken)
    return Speed(batch, batch / slow, batch / fast, ratio)


def _card(source: Card, identity: ModelIdentity, speech: Speech, origin: str) -> Card:
    made_of = source.identity
    origin = origin or (
        f"{source.origin}; static int8 by speakerd model quantize of {made_of.name}/"
        f"{made_of.version} (SHA-256 {source.sha256}), calibrated on {steps(speech.calibration)}"
        f" windows, {speech.recordings} recordings with those held out"
    )
    return replace(
        source,
        identity=identity,
        precision=PRECISION,
        origin=origin,
        sha256="",
        calibration=Calibration(None, None, _NOT_CALIBRATED),
    )
