"""CAM++ written plainly in torch and exported by torch: the graph that nobody made faster.

From the paper (Wang et al., Interspeech 2023) and the names of the checkpoint's parameters: what
users of the published weights hand to `torch.onnx.export`. Segment pooling is written the way
torch offers: average pooling, expand, reshape, slice.
"""

from __future__ import annotations

import importlib
import io
import warnings
from collections.abc import Mapping
from typing import Any

# Torch is in the export extra: without it this file must still pass the type check.
torch: Any = importlib.import_module("torch")
functional: Any = importlib.import_module("torch.nn.functional")

SEGMENT_FRAMES = 100
BLOCKS = ((12, 1), (24, 2), (16, 2))
OPSET = 14

Value = Any
State = Mapping[str, Any]


def plain_export(checkpoint: bytes) -> bytes:
    """Give the ONNX file, feats float32[B, T, 80] -> embs float32[B, 192], B and T dynamic."""
    state = torch.load(io.BytesIO(checkpoint), weights_only=True, map_location="cpu")
    file = io.BytesIO()
    with warnings.catch_warnings():
        # The exporter that users know is announced to go; its traced shapes are no news either.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            PlainCamPlusPlus(state).eval(),
            (torch.zeros(1, 2 * SEGMENT_FRAMES, 80),),
            file,
            input_names=["feats"],
            output_names=["embs"],
            dynamic_axes={"feats": {0: "B", 1: "T"}, "embs": {0: "B"}},
            opset_version=OPSET,
            do_constant_folding=True,
            dynamo=False,
        )
    return file.getvalue()


class PlainCamPlusPlus(torch.nn.Module):  # type: ignore[misc]
    """The network with the parameters of a checkpoint, for inference alone."""

    def __init__(self, state: State) -> None:
        super().__init__()
        self._taken = {name: name.replace(".", "_") for name in state}
        for name, tensor in state.items():
            self.register_buffer(self._taken[name], tensor)

    def forward(self, feats: Value) -> Value:
        value = self._head(feats.permute(0, 2, 1).unsqueeze(1))
        value = value.reshape(value.shape[0], value.shape[1] * value.shape[2], value.shape[3])
        value = self._conv(value, "xvector.tdnn.linear", stride=2, padding=2)
        value = self._norm_relu(value, "xvector.tdnn.nonlinear.batchnorm")
        for number, (layers, dilation) in enumerate(BLOCKS, start=1):
            for layer in range(1, layers + 1):
                grown = self._dense(value, f"xvector.block{number}.tdnnd{layer}", dilation)
                value = torch.cat([value, grown], dim=1)
            name = f"xvector.transit{number}"
            value = self._conv(
                self._norm_relu(value, f"{name}.nonlinear.batchnorm"), f"{name}.linear"
            )
        value = self._norm_relu(value, "xvector.out_nonlinear.batchnorm")
        value = torch.cat([value.mean(-1), value.std(-1, unbiased=True)], dim=-1)
        value = self._conv(value.unsqueeze(-1), "xvector.dense.linear").squeeze(-1)
        return self._norm(value, "xvector.dense.nonlinear.batchnorm")

    def _head(self, value: Value) -> Value:
        value = self._norm_relu(self._conv(value, "head.conv1", padding=1), "head.bn1")
        for layer in (1, 2):
            for unit, stride in enumerate((2, 1)):
                value = self._residual(value, f"head.layer{layer}.{unit}", (stride, 1))
        value = self._conv(value, "head.conv2", stride=(2, 1), padding=1)
        return self._norm_relu(value, "head.bn2")

    def _residual(self, value: Value, name: str, stride: tuple[int, int]) -> Value:
        inner = self._conv(value, f"{name}.conv1", stride=stride, padding=1)
        inner = self._conv(self._norm_relu(inner, f"{name}.bn1"), f"{name}.conv2", padding=1)
        if stride != (1, 1):
            value = self._conv(value, f"{name}.shortcut.0", stride=stride)
            value = self._norm(value, f"{name}.shortcut.1")
        return functional.relu(self._norm(inner, f"{name}.bn2") + value)

    def _dense(self, value: Value, name: str, dilation: int) -> Value:
        value = self._norm_relu(value, f"{name}.nonlinear1.batchnorm")
        value = self._norm_relu(
            self._conv(value, f"{name}.linear1"), f"{name}.nonlinear2.batchnorm"
        )
        name = f"{name}.cam_layer"
        local = self._conv(value, f"{name}.linear_local", padding=dilation, dilation=dilation)
        context = value.mean(-1, keepdim=True) + self._by_segment(value)
        context = functional.relu(self._conv(context, f"{name}.linear1"))
        return local * torch.sigmoid(self._conv(context, f"{name}.linear2"))

    def _by_segment(self, value: Value) -> Value:
        means = functional.avg_pool1d(value, SEGMENT_FRAMES, SEGMENT_FRAMES, ceil_mode=True)
        repeated = means.unsqueeze(-1).expand(*means.shape, SEGMENT_FRAMES)
        repeated = repeated.reshape(means.shape[0], means.shape[1], -1)
        return repeated[..., : value.shape[-1]]

    def _conv(self, value: Value, name: str, **options: Any) -> Value:
        convolve = functional.conv1d if value.ndim == 3 else functional.conv2d
        weight, bias = self._parameter(f"{name}.weight"), self._parameter(f"{name}.bias")
        return convolve(value, weight, bias, **options)

    def _norm_relu(self, value: Value, name: str) -> Value:
        return functional.relu(self._norm(value, name))

    def _norm(self, value: Value, name: str) -> Value:
        parts = ("running_mean", "running_var", "weight", "bias")
        return functional.batch_norm(value, *(self._parameter(f"{name}.{part}") for part in parts))

    def _parameter(self, name: str) -> Value:
        """Give a parameter; None for one that the checkpoint does not have."""
        return getattr(self, self._taken[name]) if name in self._taken else None
