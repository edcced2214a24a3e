"""Pooling over time as WeSpeaker defines it: frames [B, C, H, T] to statistics [B, n C H].

TAP is the mean, TSDP the standard deviation, TSTP both; ASTP weighs the frames of each channel by
attention (Okabe et al., "Attentive Statistics Pooling for Deep Speaker Embedding", Interspeech
2018; with the global context of Desplanques et al., "ECAPA-TDNN", Interspeech 2020). Variances
have WeSpeaker's floor of 1e-7; that of TSDP, TSTP and the global context is the unbiased one.
Statistics are ordered as if channels and heights were one axis: all means first.
"""

from __future__ import annotations

from onnx import TensorProto

from speakerd_server.errors import ArchitectureUnknown
from speakerd_server.models.layers import Layers
from speakerd_server.models.parameters import Float64

POOLINGS = ("TSTP", "ASTP", "TAP", "TSDP")
"""The kinds that can be exported."""

_FLOOR = 1e-7
_BOTTLENECK = 128


def check_pooling(kind: str) -> None:
    """Raise ArchitectureUnknown unless a pooling can be exported."""
    if kind not in POOLINGS:
        raise ArchitectureUnknown("pooling", kind, POOLINGS)


def statistics_of(kind: str) -> int:
    """Give how many statistics there are for each channel: 1 or 2."""
    return 2 if kind in ("TSTP", "ASTP") else 1


def pooled_frames(kind: str, *, global_context: bool = False) -> int:
    """Give the fewest frames that a pooling can take: two where a variance is unbiased."""
    return 2 if kind in ("TSTP", "TSDP") or (kind == "ASTP" and global_context) else 1


class Pooling:
    """Adds one pooling layer.

    Args:
        layers: Where to.
        kind: One of POOLINGS.
        name: How the names of its parameters begin, without the dot.
        global_context: Whether ASTP's attention also sees the plain mean and deviation.
    """

    def __init__(
        self, layers: Layers, kind: str, name: str = "pool", *, global_context: bool = False
    ) -> None:
        self._layers = layers
        self._op = layers.op
        self._kind = kind
        self._name = name
        self._global_context = global_context

    def add(self, value: str, channels: int) -> str:
        """Pool [B, C, H, T], where C H is `channels`, to [B, channels * statistics_of(kind)]."""
        if self._kind == "ASTP":
            flat = self._op("Reshape", value, self._layers.graph.integers(0, channels, 1, -1))
            return self._both(*self._attentive(flat, channels))
        if self._kind == "TAP":
            return self._flatten(self._mean(value))
        mean, deviation = self._plain(value)
        return self._both(mean, deviation) if self._kind == "TSTP" else self._flatten(deviation)

    def _plain(self, value: str) -> tuple[str, str]:
        """Mean and unbiased standard deviation: [B, C, H, 1] each."""
        op, layers = self._op, self._layers
        mean = self._mean(value)
        squares = op("ReduceSumSquare", op("Sub", value, mean), axes=[3], keepdims=1)
        variance = op("Div", squares, op("Sub", self._frames(value), layers.number(1.0)))
        return mean, op("Sqrt", op("Add", variance, layers.number(_FLOOR)))

    def _attentive(self, value: str, channels: int) -> tuple[str, str]:
        """Mean and standard deviation with attention as the weights of the frames."""
        op, layers, integers = self._op, self._layers, self._layers.graph.integers
        hidden = op("Tanh", self._hidden(value, channels))
        second = layers.take_conv(f"{self._name}.linear2", channels, _BOTTLENECK)
        weights = op("Softmax", layers.conv(hidden, *second), axis=3)
        weighted = op("Mul", weights, value)
        mean = op("ReduceSum", weighted, integers(3), keepdims=1)
        square = op("ReduceSum", op("Mul", weighted, value), integers(3), keepdims=1)
        variance = op("Sub", square, op("Mul", mean, mean))
        return mean, op("Sqrt", op("Max", variance, layers.number(_FLOOR)))

    def _hidden(self, value: str, channels: int) -> str:
        """Attention's first layer; the context's share is the same in every frame."""
        layers = self._layers
        inputs = channels * (3 if self._global_context else 1)
        weight, bias = layers.take_conv(f"{self._name}.linear1", _BOTTLENECK, inputs)
        if not self._global_context:
            return layers.conv(value, weight, bias)
        context = self._op("Concat", *self._plain(value), axis=1)
        shared = layers.conv(context, weight[:, channels:], bias)
        return self._op("Add", layers.conv(value, weight[:, :channels], _zeros(bias)), shared)

    def _frames(self, value: str) -> str:
        frames = self._op("Gather", self._op("Shape", value), self._layers.graph.integers(3))
        return self._op("Cast", frames, to=TensorProto.FLOAT)

    def _mean(self, value: str) -> str:
        return self._op("ReduceMean", value, axes=[3], keepdims=1)

    def _flatten(self, value: str) -> str:
        return self._op("Flatten", value, axis=1)

    def _both(self, mean: str, deviation: str) -> str:
        return self._op("Concat", self._flatten(mean), self._flatten(deviation), axis=1)


def _zeros(like: Float64) -> Float64:
    return 0.0 * like
