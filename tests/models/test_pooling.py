from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper
from speakerd_server.errors import ArchitectureUnknown
from speakerd_server.models.graph import GraphBuilder
from speakerd_server.models.layers import Layers
from speakerd_server.models.parameters import Parameters
from speakerd_server.models.pooling import (
    POOLINGS,
    Pooling,
    check_pooling,
    pooled_frames,
    statistics_of,
)
from support.wespeaker import random_arrays, session_of

CHANNELS, HEIGHT = 3, 4
SIZE = CHANNELS * HEIGHT

Array = NDArray[Any]


def arrays_of(kind: str, *, context: bool) -> dict[str, Array]:
    if kind != "ASTP":
        return {}
    return random_arrays(
        {
            "pool.linear1.weight": (128, SIZE * (3 if context else 1), 1),
            "pool.linear1.bias": (128,),
            "pool.linear2.weight": (SIZE, 128, 1),
            "pool.linear2.bias": (SIZE,),
        }
    )


def pooled(kind: str, value: Array, *, context: bool = False) -> Array:
    graph = GraphBuilder()
    layers = Layers(graph, Parameters(arrays_of(kind, context=context)))
    output = Pooling(layers, kind, global_context=context).add("value", SIZE)
    layers.parameters.finish()
    shape: list[str | int | None] = ["B", CHANNELS, HEIGHT, "T"]
    shown = helper.make_tensor_value_info("value", TensorProto.FLOAT, shape)
    width = SIZE * statistics_of(kind)
    session = session_of(graph.model([shown], {"output": (output, ["B", width])}, {}))
    return np.asarray(session.run(None, {"value": value})[0])


def reference(kind: str, value: Array, *, context: bool = False) -> Array:
    flat = value.astype(np.float64).reshape(len(value), SIZE, -1)
    mean: Array = flat.mean(-1)
    if kind == "TAP":
        return mean
    if kind == "ASTP":
        return attentive(flat, context=context)
    deviation = np.sqrt(flat.var(-1, ddof=1) + 1e-7)
    return deviation if kind == "TSDP" else np.concatenate([mean, deviation], 1)


def attentive(flat: Array, *, context: bool) -> Array:
    arrays = arrays_of("ASTP", context=context)
    seen = flat
    if context:
        mean = flat.mean(-1, keepdims=True)
        deviation = np.sqrt(flat.var(-1, ddof=1, keepdims=True) + 1e-7)
        seen = np.concatenate(
            [flat, *(np.broadcast_to(x, flat.shape) for x in (mean, deviation))], 1
        )
    first, second = (arrays[f"pool.linear{number}.weight"][:, :, 0] for number in (1, 2))
    hidden = np.tanh(first @ seen + arrays["pool.linear1.bias"][:, None])
    raw = np.exp(second @ hidden + arrays["pool.linear2.bias"][:, None])
    weights = raw / raw.sum(-1, keepdims=True)
    mean = (weights * flat).sum(-1)
    variance = (weights * flat**2).sum(-1) - mean**2
    return np.concatenate([mean, np.sqrt(np.maximum(variance, 1e-7))], 1)


def values(frames: int, batch: int = 2) -> Array:
    generator = np.random.default_rng(frames)
    value: Array = generator.standard_normal((batch, CHANNELS, HEIGHT, frames))
    return value.astype(np.float32)


@pytest.mark.parametrize("frames", [2, 25, 198])
@pytest.mark.parametrize("kind", POOLINGS)
def test_every_pooling_agrees_with_its_formula(kind: str, frames: int) -> None:
    value = values(frames)
    np.testing.assert_allclose(pooled(kind, value), reference(kind, value), atol=1e-5)


@pytest.mark.parametrize("frames", [2, 25])
def test_attention_over_the_global_context_agrees_with_its_formula(frames: int) -> None:
    value = values(frames)
    found = pooled("ASTP", value, context=True)
    np.testing.assert_allclose(found, reference("ASTP", value, context=True), atol=1e-5)


@pytest.mark.parametrize("kind", POOLINGS)
def test_constant_frames_have_the_floor_s_deviation(kind: str) -> None:
    value = np.full((1, CHANNELS, HEIGHT, 9), 0.5, np.float32)
    found = pooled(kind, value)[0]
    if kind != "TSDP":
        np.testing.assert_allclose(found[:SIZE], 0.5, atol=1e-6)
    if kind != "TAP":
        np.testing.assert_allclose(found[-SIZE:], np.sqrt(1e-7), rtol=0.2)


@pytest.mark.parametrize("context", [False, True])
@pytest.mark.parametrize("kind", POOLINGS)
def test_the_fewest_frames_are_finite_and_one_less_is_not(kind: str, context: bool) -> None:
    fewest = pooled_frames(kind, global_context=context)
    assert np.isfinite(pooled(kind, values(fewest), context=context)).all()
    if fewest > 1:
        assert not np.isfinite(pooled(kind, values(fewest - 1), context=context)).all()


@pytest.mark.parametrize("kind", ["MHASTP", "MQMHASTP", "ASP", "tstp", ""])
def test_other_poolings_are_refused_by_name(kind: str) -> None:
    with pytest.raises(ArchitectureUnknown, match=r"there is TSTP, ASTP, TAP, TSDP") as refused:
        check_pooling(kind)
    assert (refused.value.kind, refused.value.name) == ("pooling", kind)
