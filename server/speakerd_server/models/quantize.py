"""Static int8: a bundle's convolutions in 8 bits, calibrated on windows of speech.

Activations are uint8 with one range for each value of the graph (all that it took on the windows),
weights int8 with one range for each output channel, by ONNX Runtime's quantizer as QDQ nodes. What
rounding the weights shifts on average is taken off the biases (as in Nagel et al., "Data-Free
Quantization Through Weight Equalization and Bias Correction", ICCV 2019): that halves the error.
Ranges that leave out the rarest values do better on average and badly for single voices.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)

from speakerd_server.errors import GraphRefused
from speakerd_server.models.activation_ranges import Activation, observe
from speakerd_server.models.quantizable import (
    Chosen,
    choose,
    drop_unused,
    feeds,
    initializers,
    prepare,
)
from speakerd_server.values import Window

PRECISION = "int8"
"""In the card of what comes out."""
MOST_WINDOWS = 256
"""More are thinned out evenly: they would not move the ranges."""

_HIGHEST_WEIGHT = 127
_TOLD_OF_PREPARING = ("onnx.quant.pre_process", "onnxruntime.quant")


def steps(windows: Sequence[Window]) -> int:
    """Give how many windows `quantize` runs."""
    return len(_thinned(windows))


def quantize(
    path: Path,
    windows: Sequence[Window],
    metadata: Mapping[str, str],
    done: Callable[[int], None] = lambda count: None,
) -> bytes:
    """Give the 8-bit ONNX file of a bundle's float graph, with the same inputs and output.

    Args:
        path: The float graph, from pcm and rows to embeddings.
        windows: Of real speech like that of its use; at least one.
        metadata: Written to the file's properties.
        done: Told of each window run; see `steps`.

    Returns:
        The serialised model; the same bytes for the same arguments on the same kind of processor
        and version of ONNX Runtime.

    Raises:
        GraphRefused: It cannot be loaded, is an 8-bit graph already, has no convolution to
            quantize, or ONNX Runtime's quantizer refuses it.
    """
    model = prepare(path)
    chosen = choose(path, model, windows[0])
    seen = observe(model, chosen.tensors, _thinned(windows), done)
    _correct_biases(model, chosen, seen)
    exact = _rounded_by_onnx_runtime(path, model, chosen, seen, windows[0])
    _store_halves(exact)
    del exact.metadata_props[:]
    del exact.graph.value_info[:]
    helper.set_model_props(exact, dict(metadata))
    exact.producer_name, exact.producer_version = "speakerd", ""
    exact.graph.name = "speakerd"
    return exact.SerializeToString(deterministic=True)


class _OneWindow(CalibrationDataReader):  # type: ignore[misc]
    """What the quantizer insists on having; its ranges are given to it."""

    def __init__(self, window: Window) -> None:
        self._left = [feeds(window)]

    def get_next(self) -> dict[str, NDArray[np.generic]] | None:
        """Give the inputs once."""
        return self._left.pop() if self._left else None


def _thinned(windows: Sequence[Window]) -> list[Window]:
    wanted = min(len(windows), MOST_WINDOWS)
    return [windows[at * len(windows) // wanted] for at in range(wanted)]


def _rounded_by_onnx_runtime(
    path: Path, model: ModelProto, chosen: Chosen, seen: Mapping[str, Activation], window: Window
) -> ModelProto:
    """Run ONNX Runtime's quantizer with the ranges that were seen."""
    helper.set_model_props(model, dict([_TOLD_OF_PREPARING]))
    ranges: dict[str, list[dict[str, Any]]] = {}
    for name, activation in seen.items():
        low, high = activation.range()
        ranges[name] = [{"rmin": np.float32(low), "rmax": np.float32(high)}]
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "model.onnx"
        try:
            quantize_static(
                model,
                written,
                _OneWindow(window),
                QuantFormat.QDQ,
                op_types_to_quantize=["Conv", "Relu", "Add"],
                nodes_to_quantize=chosen.names,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                extra_options={"TensorQuantOverrides": ranges},
            )
        # The quantizer's exceptions share no base class but Exception.
        except Exception as error:
            raise GraphRefused(path, f"ONNX Runtime's quantizer fails on it ({error})") from error
        return onnx.load(written)


def _correct_biases(model: ModelProto, chosen: Chosen, seen: Mapping[str, Activation]) -> None:
    """Take what rounding the weights adds on average off the bias of each convolution."""
    weights = initializers(model)
    for node in chosen.convolutions:
        weight = numpy_helper.to_array(weights[node.input[1]]).astype(np.float64)
        shift = _mean_shift(weight, seen[node.input[0]].channel_means)
        if len(node.input) > 2:
            shift = shift + numpy_helper.to_array(weights[node.input[2]])
        else:
            node.input.append("")
        # A bias may be shared by several convolutions: each gets its own.
        node.input[2] = f"{node.name}_bias"
        model.graph.initializer.append(
            numpy_helper.from_array(shift.astype(np.float32), node.input[2])
        )
    drop_unused(model)


def _mean_shift(weight: NDArray[np.float64], means: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give float64[outputs], minus the mean of (rounded weight - weight) * input.

    Args:
        weight: [outputs, inputs / group, ...].
        means: float64[inputs], of the input's channels; edges are taken to be like the middle.
    """
    flat = weight.reshape(*weight.shape[:2], -1)
    step = np.abs(flat).max(axis=(1, 2), keepdims=True) / _HIGHEST_WEIGHT
    step[step == 0] = 1.0
    added = (np.rint(flat / step) * step - flat).sum(axis=2)
    groups = means.size // weight.shape[1]
    by_group = added.reshape(groups, -1, weight.shape[1])
    shift: NDArray[np.float64] = np.einsum("goi,gi->go", by_group, means.reshape(groups, -1))
    return -shift.ravel()


def _store_halves(model: ModelProto) -> None:
    """Store matrices whose every number is one of float16 as such; the engine widens them."""
    halves: dict[str, NodeProto] = {}
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or len(tensor.dims) < 2:
            continue
        array = numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):
            half = array.astype(np.float16)
        if np.array_equal(half.astype(np.float32), array):
            wide = tensor.name
            tensor.CopyFrom(numpy_helper.from_array(half, f"{wide}_half"))
            halves[wide] = helper.make_node(
                "Cast", [f"{wide}_half"], [wide], name=f"{wide}_cast", to=TensorProto.FLOAT
            )
    nodes = [*halves.values(), *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
