"""CAM++ as an ONNX graph, from its paper and the names of its parameters.

Wang et al., "CAM++: A Fast and Efficient Network for Speaker Verification Using Context-Aware
Masking", Interspeech 2023. Batch normalisation is folded into the convolution before it wherever
there is one. One-dimensional layers are written with a height of 1 and context masks end in a
convolution by one, which keeps ONNX Runtime's blocked kernels at work; neither changes a number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import TensorProto

from speakerd_server.models.graph import GraphBuilder
from speakerd_server.models.parameters import Float64, Parameters

DIM = 192
MIN_FRAMES = 3

_HEAD = 32
_MEL_BINS = 80
_CHANNELS = 128
_GROWTH = 32
_CONTEXT = 64
_SEGMENT_FRAMES = 100
_BLOCKS = ((12, 1), (24, 2), (16, 2))


class CamPlusPlus:
    """Adds the network to a graph.

    Args:
        graph: Receives nodes and weights.
        parameters: Those of the checkpoint; all are taken.
        dim: Length of an embedding.
        mel_bins: Features of a frame, a multiple of 8.
        pooling: Pools frames [B, C, 1, T] to statistics [B, n C], given C, and says n; without
            one, mean and unbiased standard deviation without a floor are taken.
    """

    def __init__(
        self,
        graph: GraphBuilder,
        parameters: Parameters,
        *,
        dim: int = DIM,
        mel_bins: int = _MEL_BINS,
        pooling: tuple[Callable[[str, int], str], int] | None = None,
    ) -> None:
        self._graph = graph
        self._parameters = parameters
        self._dim = dim
        self._mel_bins = mel_bins
        self._pooling, self._statistics_count = pooling or (self._statistics, 2)

    def add(self, features: str) -> str:
        """Add the network from mean-free log-mel features [B, 1, 80, T] to embeddings [B, dim].

        Raises:
            CheckpointRefused: A parameter is missing, misshapen or unknown.
        """
        value = self._first_tdnn(self._head(features))
        self._add_segments(value)
        channels = _CHANNELS
        for number, (layers, dilation) in enumerate(_BLOCKS, start=1):
            for layer in range(1, layers + 1):
                name = f"xvector.block{number}.tdnnd{layer}"
                grown = self._dense_layer(value, name, channels, dilation)
                value = self._graph.op("Concat", value, grown, axis=1)
                channels += _GROWTH
            value = self._transit(value, number, channels)
            channels //= 2
        statistics = self._pooling(value, channels)
        embeddings = self._dense(statistics, self._statistics_count * channels)
        self._parameters.finish()
        return embeddings

    def _head(self, value: str) -> str:
        """Two-dimensional convolutions that halve the frequency three times: [B, 32, 10, T]."""
        pads, halve = [1, 1, 1, 1], [2, 1]
        value = self._relu(self._conv_bn(value, "head.conv1", "head.bn1", (1, 3, 3), pads=pads))
        for layer in (1, 2):
            for unit, strides in enumerate((halve, [1, 1])):
                value = self._residual(value, f"head.layer{layer}.{unit}", strides)
        square = (_HEAD, 3, 3)
        return self._relu(
            self._conv_bn(value, "head.conv2", "head.bn2", square, pads=pads, strides=halve)
        )

    def _residual(self, value: str, name: str, strides: list[int]) -> str:
        pads, square = [1, 1, 1, 1], (_HEAD, 3, 3)
        inner = self._conv_bn(
            value, f"{name}.conv1", f"{name}.bn1", square, pads=pads, strides=strides
        )
        inner = self._conv_bn(self._relu(inner), f"{name}.conv2", f"{name}.bn2", square, pads=pads)
        if strides != [1, 1]:
            shortcut = f"{name}.shortcut"
            value = self._conv_bn(
                value, f"{shortcut}.0", f"{shortcut}.1", (_HEAD, 1, 1), strides=strides
            )
        return self._relu(self._graph.op("Add", inner, value))

    def _first_tdnn(self, value: str) -> str:
        """Kernel 5, stride 2 over time; its kernel spans all frequencies: [B, 128, 1, T/2]."""
        rows = self._mel_bins // 8
        weight = self._parameters.take("xvector.tdnn.linear.weight", _CHANNELS, _HEAD * rows, 5)
        scale, offset = self._parameters.batch_norm("xvector.tdnn.nonlinear.batchnorm", _CHANNELS)
        weight = (weight * scale[:, None, None]).reshape(_CHANNELS, _HEAD, rows, 5)
        return self._relu(self._conv(value, weight, offset, strides=[1, 2], pads=[0, 2, 0, 2]))

    def _add_segments(self, value: str) -> None:
        """Prepare the matrices between frames T and segments S of 100 frames, the last shorter.

        `_pool` [T, S] adds the mean of all frames and that of a segment, `_spread` [S, T] repeats.
        """
        op, integers = self._graph.op, self._graph.integers
        zero, one, time, length = (
            self._graph.constant(np.array(number, np.int64))
            for number in (0, 1, 3, _SEGMENT_FRAMES)
        )
        frames = op("Gather", op("Shape", value), time)
        last = op("Div", op("Sub", frames, one), length)
        segments = op("Range", zero, op("Add", last, one), one)
        owners = op("Div", op("Range", zero, frames, one), length)
        owned = op("Equal", op("Unsqueeze", segments, integers(1)), owners)
        self._spread = op("Cast", owned, to=TensorProto.FLOAT)
        members = op("Transpose", self._spread, perm=[1, 0])
        segment_mean = op("Div", members, op("ReduceSum", members, integers(0), keepdims=1))
        self._frame_count = op("Cast", frames, to=TensorProto.FLOAT)
        self._pool = op("Add", segment_mean, op("Reciprocal", self._frame_count))

    def _dense_layer(self, value: str, name: str, channels: int, dilation: int) -> str:
        """One layer of a D-TDNN block: the 32 channels that it adds."""
        value = self._bn_relu(value, f"{name}.nonlinear1.batchnorm", channels)
        value = self._relu(
            self._conv_bn(value, f"{name}.linear1", f"{name}.nonlinear2.batchnorm", (channels, 1))
        )
        name = f"{name}.cam_layer"
        weight = self._parameters.take(f"{name}.linear_local.weight", _GROWTH, _CHANNELS, 3)
        local = self._conv(
            value, _flat(weight), pads=[0, dilation, 0, dilation], dilations=[1, dilation]
        )
        masked = self._graph.op("Mul", local, self._context_mask(value, name))
        return self._conv(masked, np.ones((_GROWTH, 1, 1, 1)), group=_GROWTH)

    def _context_mask(self, value: str, name: str) -> str:
        """The mask is constant over a segment: it is computed there and then repeated."""
        context = self._graph.op("MatMul", value, self._pool)
        context = self._relu(self._conv_bias(context, f"{name}.linear1", _CONTEXT, _CHANNELS))
        mask = self._conv_bias(context, f"{name}.linear2", _GROWTH, _CONTEXT)
        return self._graph.op("MatMul", self._graph.op("Sigmoid", mask), self._spread)

    def _transit(self, value: str, number: int, channels: int) -> str:
        """Halve the channels; the last one takes the output's normalisation and ReLU with it."""
        name = f"xvector.transit{number}"
        value = self._bn_relu(value, f"{name}.nonlinear.batchnorm", channels)
        if number == len(_BLOCKS):
            output = "xvector.out_nonlinear.batchnorm"
            kernel = (channels, 1)
            return self._relu(
                self._conv_bn(value, f"{name}.linear", output, kernel, outputs=channels // 2)
            )
        weight = self._parameters.take(f"{name}.linear.weight", channels // 2, channels, 1)
        return self._conv(value, _flat(weight))

    def _statistics(self, value: str, channels: int) -> str:
        """Mean and unbiased standard deviation over time: [B, 2 channels]."""
        op = self._graph.op
        value = op("Reshape", value, self._graph.integers(0, channels, -1))
        mean = op("ReduceMean", value, axes=[2], keepdims=1)
        squares = op("ReduceSumSquare", op("Sub", value, mean), axes=[2], keepdims=1)
        one = self._graph.constant(np.array(1, np.float32))
        variance = op("Div", squares, op("Sub", self._frame_count, one))
        both = op("Concat", mean, op("Sqrt", variance), axis=1)
        return op("Squeeze", both, self._graph.integers(2))

    def _dense(self, value: str, channels: int) -> str:
        weight = self._parameters.take("xvector.dense.linear.weight", self._dim, channels, 1)
        name = "xvector.dense.nonlinear.batchnorm"
        scale, offset = self._parameters.batch_norm(name, self._dim, affine=False)
        weights = self._graph.weight(weight[:, :, 0] * scale[:, None]), self._graph.weight(offset)
        return self._graph.op("Gemm", value, *weights, transB=1)

    def _relu(self, value: str) -> str:
        return self._graph.op("Relu", value)

    def _bn_relu(self, value: str, name: str, channels: int) -> str:
        scale, offset = self._parameters.batch_norm(name, channels)
        return self._relu(
            self._graph.op(
                "BatchNormalization",
                value,
                self._graph.weight(scale),
                self._graph.weight(offset),
                self._graph.filled(channels, 0.0),
                self._graph.filled(channels, 1.0),
                epsilon=0.0,
            )
        )

    def _conv(
        self, value: str, weight: Float64, *bias: Float64, exact: bool = False, **attributes: Any
    ) -> str:
        weights = [self._graph.weight(array, exact=exact) for array in (weight, *bias)]
        return self._graph.op("Conv", value, *weights, **attributes)

    def _conv_bias(self, value: str, name: str, outputs: int, inputs: int) -> str:
        weight = self._parameters.take(f"{name}.weight", outputs, inputs, 1)
        return self._conv(value, _flat(weight), self._parameters.take(f"{name}.bias", outputs))

    def _conv_bn(
        self,
        value: str,
        name: str,
        norm: str,
        kernel: tuple[int, ...],
        outputs: int = 0,
        **attributes: Any,
    ) -> str:
        outputs = outputs or (_HEAD if len(kernel) == 3 else _CHANNELS)
        weight = self._parameters.take(f"{name}.weight", outputs, *kernel)
        scale, offset = self._parameters.batch_norm(norm, outputs)
        weight = weight * scale.reshape(-1, *[1] * len(kernel))
        # The head has 1 % of the weights and makes most of what rounding them to float16 costs.
        head = weight.ndim == 4
        return self._conv(
            value, weight if head else _flat(weight), offset, exact=head, **attributes
        )


def _flat(weight: Float64) -> Float64:
    """Give a kernel over time a height of 1."""
    return weight[:, :, None, :]
