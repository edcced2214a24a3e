"""A small builder of ONNX graphs: nodes and weights in the order they are added, names counted.

Only the recipe and its tests import this module: `onnx` is in the `export` extra.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 9


class GraphBuilder:
    """Collects nodes and weights; the same calls give the same bytes.

    Args:
        half_weights: Store the matrices that `weight` adds as float16, cast to float32 in the
            graph; the engine folds the cast when it loads the model. Vectors stay float32.
    """

    def __init__(self, *, half_weights: bool = False) -> None:
        self._half_weights = half_weights
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: list[onnx.TensorProto] = []
        self._counts: Counter[str] = Counter()
        self._filled: dict[tuple[int, float], str] = {}

    def op(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output and give the output's name."""
        output = self._name(op_type)
        node = helper.make_node(op_type, list(inputs), [output], name=output, **attributes)
        self._nodes.append(node)
        return output

    def ops(self, op_type: str, inputs: Sequence[str], count: int, **attributes: Any) -> list[str]:
        """Add a node with several outputs and give their names; "" is an input left out."""
        outputs = [self._name(op_type) for _ in range(count)]
        node = helper.make_node(op_type, list(inputs), outputs, name=outputs[0], **attributes)
        self._nodes.append(node)
        return outputs

    def constant(self, array: NDArray[Any], name: str = "") -> str:
        """Add an array as it is and give its name."""
        name = name or self._name("constant")
        self._initializers.append(numpy_helper.from_array(np.asarray(array, order="C"), name))
        return name

    def weight(self, array: NDArray[Any], *, exact: bool = False) -> str:
        """Add network weights, float32 in the graph; `exact` ones are stored as float32 always."""
        if self._half_weights and array.ndim > 1 and not exact:
            stored = self.constant(array.astype(np.float16))
            return self.op("Cast", stored, to=TensorProto.FLOAT)
        return self.constant(array.astype(np.float32))

    def filled(self, length: int, value: float) -> str:
        """Give a float32 vector of one value, made when the model is loaded."""
        key = (length, value)
        if key not in self._filled:
            filling = numpy_helper.from_array(np.array([value], np.float32))
            self._filled[key] = self.op("ConstantOfShape", self.integers(length), value=filling)
        return self._filled[key]

    def integers(self, *values: int) -> str:
        """Add an int64 vector and give its name."""
        return self.constant(np.array(values, np.int64))

    def model(
        self,
        inputs: Sequence[onnx.ValueInfoProto],
        outputs: Mapping[str, tuple[str, Sequence[str | int]]],
        metadata: Mapping[str, str],
    ) -> bytes:
        """Give the checked ONNX file.

        Args:
            inputs: Typed graph inputs.
            outputs: For each output its graph name, the value that it shows and its shape.
            metadata: Written to the file's properties.

        Returns:
            The serialised model, the same bytes for the same calls.
        """
        for name, (value, _) in outputs.items():
            node = helper.make_node("Identity", [value], [name], name=name)
            self._nodes.append(node)
        shown = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))
            for name, (_, shape) in outputs.items()
        ]
        graph = helper.make_graph(
            self._nodes, "speakerd", list(inputs), shown, initializer=self._initializers
        )
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(
            graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="speakerd"
        )
        helper.set_model_props(model, dict(metadata))
        onnx.checker.check_model(model, full_check=True)
        return model.SerializeToString(deterministic=True)

    def _name(self, kind: str) -> str:
        self._counts[kind] += 1
        return f"{kind}_{self._counts[kind]}"
