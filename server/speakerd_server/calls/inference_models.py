"""What the served models take and give, and how a request's tensors become windows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speakerd_server import metrics
from speakerd_server.audio.decode import check_samples
from speakerd_server.calls.inference_values import (
    InferenceRequest,
    Tensor,
    TensorDescription,
    WantedOutput,
)
from speakerd_server.cards import Card
from speakerd_server.errors import (
    AudioTooLong,
    AudioWithoutVoice,
    BatchSizeInvalid,
    InferenceUnsupported,
    InvalidInput,
    TensorInvalid,
)
from speakerd_server.values import Float32, Window
from speakerd_server.windows.arithmetic import (
    FRAME_SAMPLES,
    LONGEST_WINDOW_SAMPLES,
    SAMPLE_RATE_HZ,
    SHIFT_SAMPLES,
    frame_count,
)
from speakerd_server.windows.slicer import rows_in_order
from speakerd_server.windows.variance import varies
from speakerd_server.windows.whole import whole_window

Array = NDArray[Any]
_DTYPES: Mapping[str, np.dtype[Any]] = {"FP32": np.dtype("<f4"), "INT64": np.dtype("<i8")}
_FULL_SCALE = 1.0
MOST_TENSORS = 16
"""Inputs or outputs of one request."""
MOST_DIMENSIONS = 8
"""Of one tensor."""
MOST_PARAMETERS = 64
"""Of a request or a tensor."""
MOST_SINGLE_VALUES = 1 << 20
"""That are read one by one; more must come raw."""
LONGEST_FRAMES = frame_count(LONGEST_WINDOW_SAMPLES)
_MOST_WINDOW_SAMPLES = LONGEST_WINDOW_SAMPLES + FRAME_SAMPLES + 2 * SHIFT_SAMPLES
"""Of a window of 60 s whose tail and head lie on one grid."""


@dataclass(frozen=True, slots=True, eq=False)
class Form:
    """What a kind of model takes and gives."""

    inputs: Callable[[Card], tuple[TensorDescription, ...]]
    """Describes what must be given, all of it."""
    output: str
    """Name of the embeddings, FP32 [B, dim]."""
    window: Callable[[tuple[Array, ...], Card], Window]
    """Makes the window of one utterance of its inputs; raises InvalidInput."""

    def outputs(self, dim: int) -> tuple[TensorDescription, ...]:
        """Describe what it gives."""
        return (TensorDescription(self.output, "FP32", (-1, dim)),)

    def read(
        self, request: InferenceRequest, card: Card, maximum_batch: int
    ) -> list[tuple[Array, ...]]:
        """Give the inputs of each utterance, over the request's own memory.

        Raises TensorInvalid, BatchSizeInvalid and InferenceUnsupported.
        """
        given = {one.name: one for one in request.inputs}
        inputs = self.inputs(card)
        self._check_names(request, given, [one.name for one in inputs])
        tensors = [given[one.name] for one in inputs]
        for described, tensor in zip(inputs, tensors, strict=True):
            _check_kind(described, tensor, request.model)
            batch = tensor.shape[0]
            if not 1 <= batch <= maximum_batch:
                raise BatchSizeInvalid(request.model, batch, maximum_batch)
            if batch != tensors[0].shape[0]:
                problem = (
                    f"input '{tensor.name}' batch size does not match other inputs for"
                    f" '{request.model}'"
                )
                raise TensorInvalid(tensor.name, problem)
        arrays = [_array(one, request.model) for one in tensors]
        return list(zip(*arrays, strict=True))

    def _check_names(
        self, request: InferenceRequest, given: dict[str, Tensor], wanted: list[str]
    ) -> None:
        for tensor in request.inputs:
            if tensor.name not in wanted:
                problem = (
                    f"unexpected inference input '{tensor.name}' for model '{request.model}';"
                    f" it takes {wanted}"
                )
                raise TensorInvalid(tensor.name, problem)
        if len(request.inputs) != len(wanted) or len(given) != len(wanted):
            names = [one.name for one in request.inputs]
            missing = [name for name in wanted if name not in given]
            problem = (
                f"expected {len(wanted)} inputs but got {len(names)} inputs for model"
                f" '{request.model}'. Got input(s) {names}, but missing required input(s) {missing}"
            )
            raise TensorInvalid((missing or names)[0], problem)
        for output in request.outputs:
            if output.name != self.output:
                problem = (
                    f"unexpected inference output '{output.name}' for model '{request.model}';"
                    f" it gives ['{self.output}']"
                )
                raise TensorInvalid(output.name, problem)


def check_count(what: str, found: int, most: int = MOST_TENSORS) -> None:
    """Refuse by TensorInvalid more of something than any request has, before it is gone through."""
    if found > most:
        raise TensorInvalid(what, f"a request has at most {most} {what}, this one has {found}")


def check_supported(request: InferenceRequest) -> None:
    """Raise InferenceUnsupported for sequences, shared memory and classification."""
    if request.parameters and request.parameters.get("sequence_id"):
        raise InferenceUnsupported("sequence_id, a sequence of requests")
    tensors: tuple[Tensor | WantedOutput, ...] = (*request.inputs, *request.outputs)
    for one in tensors:
        if one.parameters and "shared_memory_region" in one.parameters:
            raise InferenceUnsupported(f"'{one.name}' in shared memory")
    for output in request.outputs:
        if output.parameters and "classification" in output.parameters:
            raise InferenceUnsupported(f"classification of '{output.name}'")


def _check_kind(described: TensorDescription, tensor: Tensor, model: str) -> None:
    name, shape = described.name, tensor.shape
    if tensor.datatype != described.datatype:
        problem = (
            f"inference input '{name}' data-type is '{tensor.datatype}', but model '{model}'"
            f" expects '{described.datatype}'"
        )
        raise TensorInvalid(name, problem)
    fits = len(shape) == len(described.shape) and all(
        size >= 0 and wanted in (-1, size)
        for size, wanted in zip(shape, described.shape, strict=True)
    )
    if not fits:
        expected, got = _written(described.shape), _written(shape)
        problem = (
            f"unexpected shape for input '{name}' for model '{model}'. Expected {expected}, got"
            f" {got}. The first dimension is the batch"
        )
        raise TensorInvalid(name, problem)


def _array(tensor: Tensor, model: str) -> Array:
    dtype = _DTYPES[tensor.datatype]
    expected, found = math.prod(tensor.shape) * dtype.itemsize, memoryview(tensor.data).nbytes
    if found != expected:
        problem = (
            f"input byte size mismatch for input '{tensor.name}' for model '{model}'. Expected"
            f" {expected}, got {found}"
        )
        raise TensorInvalid(tensor.name, problem)
    if not expected:
        return np.empty(tensor.shape, dtype)
    values: Array = np.frombuffer(tensor.data, dtype)
    return values.reshape(tensor.shape)


def _written(shape: tuple[int, ...]) -> str:
    return "[" + ",".join(map(str, shape)) + "]"


def _utterance(inputs: tuple[Array, ...], card: Card) -> Window:
    (samples,) = inputs
    window = whole_window(samples, card.min_frames)
    _check_loudness(samples)
    return _varying(window)


def _window(inputs: tuple[Array, ...], card: Card) -> Window:
    samples, rows = inputs
    if not card.min_frames <= rows.size <= LONGEST_FRAMES:
        raise TensorInvalid(
            "rows", f"'rows' has {rows.size} frames, not {card.min_frames} to {LONGEST_FRAMES}"
        )
    if samples.size > _MOST_WINDOW_SAMPLES:
        limit_s = LONGEST_WINDOW_SAMPLES / SAMPLE_RATE_HZ
        raise AudioTooLong(limit_s, "send shorter windows")
    frames = frame_count(samples.size)
    lowest, highest = int(rows.min()), int(rows.max())
    if lowest < 0 or highest >= frames:
        problem = (
            f"'rows' names frames {lowest} to {highest}, and the {samples.size} samples of 'pcm'"
            f" have {frames}"
        )
        raise TensorInvalid("rows", problem)
    _check_loudness(samples)
    return _varying(Window(0, samples, rows, samples.size))


def _features(inputs: tuple[Array, ...], card: Card) -> Window:
    (features,) = inputs
    frames = len(features)
    if not card.min_frames <= frames <= LONGEST_FRAMES:
        raise TensorInvalid(
            "feats", f"'feats' has {frames} frames, not {card.min_frames} to {LONGEST_FRAMES}"
        )
    if not np.isfinite(features).all():
        raise TensorInvalid("feats", "a value of 'feats' is NaN or infinite")
    if not (features != features[0]).any():
        raise AudioWithoutVoice(1)
    values = features.reshape(-1)
    if values.size < FRAME_SAMPLES:
        values = np.pad(values, (0, FRAME_SAMPLES - values.size))
    return Window(0, values, rows_in_order(frames), 0)


def _check_loudness(samples: Float32) -> None:
    if check_samples(samples) > _FULL_SCALE:
        metrics.LOUD_SAMPLES.inc(int(np.count_nonzero(np.abs(samples) > _FULL_SCALE)))


def _varying(window: Window) -> Window:
    if not varies(window):
        metrics.WINDOWS_WITHOUT_VARIANCE.inc()
        raise AudioWithoutVoice(1)
    return window


def in_utterance(error: InvalidInput, name: str, number: int) -> InvalidInput:
    """Let an error about audio say in which input, and of which utterance, it is."""
    if error.field == "audio":
        error.field = f"{name}[{number}]"
    return error


_WAV = (TensorDescription("WAV", "FP32", (-1, -1)),)
_PCM = (TensorDescription("pcm", "FP32", (-1, -1)), TensorDescription("rows", "INT64", (-1, -1)))

UTTERANCES = Form(lambda _: _WAV, "EMBEDDINGS", _utterance)
"""Whole utterances of samples in [-1, 1] at 16 kHz, each to one embedding."""
WINDOWS = Form(lambda _: _PCM, "embeddings", _window)
"""Windows as an engine takes them, each to one embedding."""
FEATURES = Form(
    lambda card: (TensorDescription("feats", "FP32", (-1, -1, card.front_end.mel_bins)),),
    "embs",
    _features,
)
"""Whole utterances of log-mel features, their mean over time removed, each to one embedding."""
