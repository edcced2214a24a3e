"""Layers of networks as ONNX nodes: what ResNet, ECAPA-TDNN and the pooling layers are made of.

Values are [B, C, H, T] everywhere; layers over time alone have a height of 1, which keeps ONNX
Runtime's blocked kernels at work. Weights are folded in float64 before they are stored.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from speakerd_server.models.graph import GraphBuilder
from speakerd_server.models.parameters import Float64, Parameters


class Layers:
    """Adds layers with named parameters to a graph.

    Args:
        graph: Receives nodes and weights.
        parameters: Those of the checkpoint.
    """

    def __init__(self, graph: GraphBuilder, parameters: Parameters) -> None:
        self.graph = graph
        self.parameters = parameters
        self.op = graph.op

    def relu(self, value: str) -> str:
        """Add a ReLU."""
        return self.op("Relu", value)

    def conv(self, value: str, weight: Float64, bias: Float64, **attributes: Any) -> str:
        """Add a convolution with a weight [out, in, height, width]."""
        return self.op("Conv", value, self.graph.weight(weight), self.vector(bias), **attributes)

    def conv_bn(
        self, value: str, name: str, norm: str, shape: tuple[int, ...], **attributes: Any
    ) -> str:
        """Add a convolution without bias, the batch norm after it folded in."""
        weight = self.parameters.take(f"{name}.weight", *shape)
        scale, offset = self.parameters.batch_norm(norm, shape[0])
        return self.conv(value, weight * scale[:, None, None, None], offset, **attributes)

    def affine(self, value: str, scale: Float64, offset: Float64) -> str:
        """Scale and shift each channel, as ONNX Runtime's blocked kernels do it."""
        one, zero = self.graph.filled(len(scale), 1.0), self.graph.filled(len(scale), 0.0)
        weights = self.vector(scale), self.vector(offset)
        return self.op("BatchNormalization", value, *weights, zero, one, epsilon=0.0)

    def dense(self, value: str, weight: Float64, bias: Float64) -> str:
        """Add a linear layer on [B, in] with a weight [out, in]."""
        weights = self.graph.weight(weight), self.vector(bias)
        return self.op("Gemm", value, *weights, transB=1)

    def take_dense(self, name: str, outputs: int, inputs: int) -> tuple[Float64, Float64]:
        """Take the weight [outputs, inputs] and the bias of a linear layer."""
        take = self.parameters.take
        return take(f"{name}.weight", outputs, inputs), take(f"{name}.bias", outputs)

    def take_conv(
        self, name: str, outputs: int, inputs: int, width: int = 1
    ) -> tuple[Float64, Float64]:
        """Take a convolution over time as weight [outputs, inputs, 1, width] and bias."""
        weight = self.parameters.take(f"{name}.weight", outputs, inputs, width)
        return weight[:, :, None, :], self.parameters.take(f"{name}.bias", outputs)

    def vector(self, array: Float64) -> str:
        """Add a vector, always float32."""
        return self.graph.weight(array, exact=True)

    def number(self, value: float) -> str:
        """Add one float32 number."""
        return self.graph.constant(np.array(value, np.float32))


def after_norm(
    weight: Float64, bias: Float64, norm: tuple[Float64, ...]
) -> tuple[Float64, Float64]:
    """Fold the batch norm before a linear map into it.

    Args:
        weight: [out, in, ...]; any later axes must be of length 1, for no padding is allowed.
        bias: [out].
        norm: Scale and offset, [in] each.

    Returns:
        The weight and bias that give the same without the norm.
    """
    scale, offset = norm
    flat = weight.reshape(weight.shape[0], -1)
    return (flat * scale).reshape(weight.shape), bias + flat @ offset
