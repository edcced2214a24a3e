"""WeSpeaker's networks written plainly in torch, in float64, from the papers and the names.

How deep a network is and which units it has is read off the names of its parameters. Import this
only where torch is wanted: it is in the export extra.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from support.plain_campplus import PlainCamPlusPlus

torch: Any = importlib.import_module("torch")
functional: Any = importlib.import_module("torch.nn.functional")

FLOOR = 1e-7

Tensor = Any


class PlainCampplus(PlainCamPlusPlus):
    """CAM++ with WeSpeaker's pooling, whose variance has a floor."""

    def _norm_relu(self, value: Tensor, name: str) -> Tensor:
        self.frames = super()._norm_relu(value, name)
        return self.frames

    def _conv(self, value: Tensor, name: str, **options: Any) -> Tensor:
        if name == "xvector.dense.linear":
            deviation = (self.frames.var(-1, unbiased=True) + FLOOR).sqrt()
            value = torch.cat([self.frames.mean(-1), deviation], 1).unsqueeze(-1)
        return super()._conv(value, name, **options)


def campplus(arrays: Mapping[str, NDArray[Any]], feats: NDArray[np.float32]) -> NDArray[Any]:
    """Embed features [B, T, 80] with CAM++."""
    state = {
        name: torch.from_numpy(np.asarray(array)).double()
        for name, array in arrays.items()
        if not name.endswith("num_batches_tracked")
    }
    given = torch.from_numpy(feats).double()
    return np.asarray(PlainCampplus(state).double().eval()(given).numpy())


class Plain:
    """Layers over a checkpoint's arrays."""

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self.state = {
            name: torch.from_numpy(np.asarray(array)).double() for name, array in arrays.items()
        }

    def resnet(self, feats: NDArray[np.float32], pooling: str) -> NDArray[np.float64]:
        value = torch.from_numpy(feats).double().transpose(1, 2)[:, None]
        value = functional.relu(self.norm(self.conv(value, "conv1", padding=1), "bn1"))
        for stage in range(1, 5):
            unit = 0
            while f"layer{stage}.{unit}.conv1.weight" in self.state:
                stride = 2 if stage > 1 and unit == 0 else 1
                value = self.unit(value, f"layer{stage}.{unit}", stride)
                unit += 1
        value = self.linear(self.pool(value, pooling), "seg_1")
        if "seg_2.weight" in self.state:
            value = self.linear(self.norm(functional.relu(value), "seg_bn_1"), "seg_2")
        return np.asarray(value.numpy())

    def unit(self, value: Tensor, name: str, stride: int) -> Tensor:
        layers: tuple[tuple[str, int, int], ...]
        if f"{name}.conv3.weight" in self.state:
            layers = (("1", 1, 0), ("2", stride, 1), ("3", 1, 0))
        else:
            layers = (("1", stride, 1), ("2", 1, 1))
        inner = value
        for number, step, padding in layers:
            inner = self.conv(inner, f"{name}.conv{number}", stride=step, padding=padding)
            inner = self.norm(inner, f"{name}.bn{number}")
            if number != layers[-1][0]:
                inner = functional.relu(inner)
        if f"{name}.shortcut.0.weight" in self.state:
            value = self.conv(value, f"{name}.shortcut.0", stride=stride)
            value = self.norm(value, f"{name}.shortcut.1")
        return functional.relu(inner + value)

    def ecapa(
        self, feats: NDArray[np.float32], pooling: str, *, context: bool
    ) -> NDArray[np.float64]:
        value = torch.from_numpy(feats).double().transpose(1, 2)
        value = self.norm(functional.relu(self.conv(value, "layer1.conv", padding=2)), "layer1.bn")
        outputs = []
        for layer in (2, 3, 4):
            value = value + self.se_res2(value, f"layer{layer}.se_res2block", dilation=layer)
            outputs.append(value)
        value = functional.relu(self.conv(torch.cat(outputs, 1), "conv"))
        value = self.norm(self.pool(value, pooling, context=context), "bn")
        value = self.linear(value, "linear")
        if "bn2.weight" in self.state:
            value = self.norm(value, "bn2")
        return np.asarray(value.numpy())

    def se_res2(self, value: Tensor, name: str, dilation: int) -> Tensor:
        value = self.norm(functional.relu(self.conv(value, f"{name}.0.conv")), f"{name}.0.bn")
        parts = list(torch.chunk(value, 8, dim=1))
        for number in range(7):
            given = parts[number] + (parts[number - 1] if number else 0)
            convolved = self.conv(
                given, f"{name}.1.convs.{number}", padding=dilation, dilation=dilation
            )
            parts[number] = self.norm(functional.relu(convolved), f"{name}.1.bns.{number}")
        value = self.conv(torch.cat(parts, 1), f"{name}.2.conv")
        value = self.norm(functional.relu(value), f"{name}.2.bn")
        gate = functional.relu(self.linear(value.mean(-1), f"{name}.3.linear1"))
        return value * torch.sigmoid(self.linear(gate, f"{name}.3.linear2"))[..., None]

    def pool(self, value: Tensor, kind: str, *, context: bool = False) -> Tensor:
        value = value.flatten(1, -2)
        mean, deviation = value.mean(-1), (value.var(-1, unbiased=True) + FLOOR).sqrt()
        if kind == "ASTP":
            seen = value
            if context:
                repeated = [part[..., None].expand_as(value) for part in (mean, deviation)]
                seen = torch.cat([value, *repeated], 1)
            hidden = torch.tanh(self.conv(seen, "pool.linear1"))
            weights = torch.softmax(self.conv(hidden, "pool.linear2"), -1)
            mean = (weights * value).sum(-1)
            deviation = ((weights * value**2).sum(-1) - mean**2).clamp(min=FLOOR).sqrt()
        return {"TAP": mean, "TSDP": deviation}.get(kind, torch.cat([mean, deviation], 1))

    def conv(self, value: Tensor, name: str, **options: Any) -> Tensor:
        convolve = functional.conv1d if value.ndim == 3 else functional.conv2d
        weight, bias = self.state[f"{name}.weight"], self.state.get(f"{name}.bias")
        return convolve(value, weight, bias, **options)

    def linear(self, value: Tensor, name: str) -> Tensor:
        return functional.linear(value, self.state[f"{name}.weight"], self.state[f"{name}.bias"])

    def norm(self, value: Tensor, name: str) -> Tensor:
        parts = ("running_mean", "running_var", "weight", "bias")
        return functional.batch_norm(value, *(self.state.get(f"{name}.{part}") for part in parts))
