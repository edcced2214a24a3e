from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from speakerd.kserve import inference_pb2 as pb
from speakerd_server.calls.inference_values import (
    InferenceReply,
    ModelConfiguration,
    ModelDescription,
    ModelStatistics,
    Spent,
    Tensor,
    TensorDescription,
)
from speakerd_server.errors import TensorInvalid
from speakerd_server.wire import kserve_convert

FLOATS = st.lists(st.floats(width=32, allow_nan=True), max_size=300)
DESCRIBED = ModelDescription(
    "some",
    ("1", "beta"),
    "speakerd",
    (TensorDescription("pcm", "FP32", (-1, -1)), TensorDescription("rows", "INT64", (-1, -1))),
    (TensorDescription("embeddings", "FP32", (-1, 192)),),
)
Input = pb.ModelInferRequest.InferInputTensor


def asked(*inputs: pb.ModelInferRequest.InferInputTensor, **more: Any) -> pb.ModelInferRequest:
    return pb.ModelInferRequest(model_name="some", inputs=inputs, **more)


def wav(**more: Any) -> pb.ModelInferRequest.InferInputTensor:
    return Input(name="WAV", datatype="FP32", shape=(1, 3), **more)


@given(FLOATS)
def test_floats_are_the_same_raw_and_typed(values: list[float]) -> None:
    data = np.array(values, np.float32).tobytes()
    (raw,) = kserve_convert.request(asked(wav(), raw_input_contents=[data])).inputs
    contents = pb.InferTensorContents(fp32_contents=values)
    (typed,) = kserve_convert.request(asked(wav(contents=contents))).inputs
    assert bytes(raw.data) == bytes(typed.data) == data
    assert (raw.name, raw.datatype, raw.shape) == ("WAV", "FP32", (1, 3))


@given(FLOATS, st.binary(min_size=1, max_size=9))
def test_fields_that_nobody_knows_do_not_shift_typed_floats(
    values: list[float], unknown: bytes
) -> None:
    contents = pb.InferTensorContents(fp32_contents=values)
    tag = bytes([(15 << 3) | 2, len(unknown)])
    odd = pb.InferTensorContents.FromString(contents.SerializeToString() + tag + unknown)
    (typed,) = kserve_convert.request(asked(wav(contents=odd))).inputs
    assert bytes(typed.data) == np.array(values, np.float32).tobytes()


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=50))
def test_whole_numbers_are_the_same_raw_and_typed(values: list[int]) -> None:
    contents = pb.InferTensorContents(int64_contents=values)
    rows = Input(name="rows", datatype="INT64", shape=(1, len(values)), contents=contents)
    (typed,) = kserve_convert.request(asked(rows)).inputs
    assert bytes(typed.data) == np.array(values, np.int64).tobytes()


def test_both_kinds_of_contents_at_once_are_refused() -> None:
    contents = pb.InferTensorContents(fp32_contents=[0.0])
    with pytest.raises(TensorInvalid, match="contents field must not be specified when using raw"):
        kserve_convert.request(asked(wav(contents=contents), raw_input_contents=[b"1234"]))
    empty = wav(contents=pb.InferTensorContents())
    (taken,) = kserve_convert.request(asked(empty, raw_input_contents=[b"1234"])).inputs
    assert taken.data == b"1234"


@pytest.mark.parametrize("raw", [[b"1", b"2", b"3"], [b"1"]])
def test_raw_contents_must_be_as_many_as_inputs(raw: list[bytes]) -> None:
    with pytest.raises(TensorInvalid, match="for each of 2 inputs of model 'some', got"):
        kserve_convert.request(asked(wav(), wav(), raw_input_contents=raw))


def test_contents_of_another_datatype_are_refused() -> None:
    contents = pb.InferTensorContents(fp64_contents=[0.0])
    with pytest.raises(TensorInvalid, match="unexpected fp64_contents for input 'WAV'"):
        kserve_convert.request(asked(wav(contents=contents)))


def test_more_of_anything_than_a_request_has_is_refused_before_it_is_gone_through() -> None:
    parameters = {str(n): pb.InferParameter(int64_param=n) for n in range(65)}
    zeros = pb.InferTensorContents(int64_contents=[0] * ((1 << 20) + 1))
    cases = {
        "inputs": asked(*[wav()] * 17),
        "outputs": asked(outputs=[pb.ModelInferRequest.InferRequestedOutputTensor()] * 17),
        "dimensions": asked(Input(name="WAV", datatype="FP32", shape=[1] * 9)),
        "parameters": asked(parameters=parameters),
        "values one by one": asked(Input(name="rows", datatype="INT64", contents=zeros)),
    }
    for what, message in cases.items():
        with pytest.raises(TensorInvalid, match=f"a request has at most [0-9]+ {what}"):
            kserve_convert.request(message)


def test_names_versions_ids_and_parameters_are_read() -> None:
    number = pb.InferParameter(int64_param=3)
    message = asked(
        wav(parameters={"shared_memory_region": pb.InferParameter(string_param="x")}),
        model_version="7",
        id="a\n",
        parameters={"sequence_id": number, "nothing": pb.InferParameter()},
        outputs=[
            pb.ModelInferRequest.InferRequestedOutputTensor(
                name="EMBEDDINGS", parameters={"classification": number}
            )
        ],
    )
    found = kserve_convert.request(message)
    assert (found.model, found.version, found.id) == ("some", "7", "a\n")
    assert found.parameters == {"sequence_id": 3}
    assert found.inputs[0].parameters == {"shared_memory_region": "x"}
    assert [(one.name, one.parameters) for one in found.outputs] == [
        ("EMBEDDINGS", {"classification": 3})
    ]


def test_a_reply_has_raw_contents_and_no_others() -> None:
    data = np.arange(6, dtype=np.float32).tobytes()
    value = InferenceReply("some", "2", "id", (Tensor("embs", "FP32", (2, 3), data),))
    message = kserve_convert.reply(value)
    assert (message.model_name, message.model_version, message.id) == ("some", "2", "id")
    assert list(message.raw_output_contents) == [data]
    (output,) = message.outputs
    assert (output.name, output.datatype, list(output.shape)) == ("embs", "FP32", [2, 3])
    assert not output.HasField("contents")


def test_metadata_have_the_batch_and_configurations_do_not() -> None:
    message = kserve_convert.metadata(DESCRIBED)
    assert (message.name, list(message.versions)) == ("some", ["1", "beta"])
    assert [list(one.shape) for one in (*message.inputs, *message.outputs)] == [
        [-1, -1],
        [-1, -1],
        [-1, 192],
    ]
    value = ModelConfiguration(DESCRIBED, 64, (4, 8), ("cpu", "gpu:1"))
    config = kserve_convert.config(value).config
    assert (config.name, config.max_batch_size, config.backend) == ("some", 64, "speakerd")
    assert [(one.name, one.data_type, list(one.dims)) for one in config.input] == [
        ("pcm", pb.TYPE_FP32, [-1]),
        ("rows", pb.TYPE_INT64, [-1]),
    ]
    assert [list(one.dims) for one in config.output] == [[192]]
    assert list(config.version_policy.specific.versions) == [1]
    assert list(config.dynamic_batching.preferred_batch_size) == [4, 8]
    kinds = [(one.kind, list(one.gpus)) for one in config.instance_group]
    assert kinds == [
        (pb.ModelInstanceGroup.KIND_CPU, []),
        (pb.ModelInstanceGroup.KIND_GPU, [1]),
    ]


def test_every_count_has_its_place() -> None:
    parts = [Spent(n, 1000 + n) for n in range(6)]
    value = ModelStatistics(
        "some",
        "1",
        5,
        6,
        7,
        parts[0],
        parts[1],
        parts[2],
        parts[3],
        parts[4],
        parts[5],
        {4: Spent(8, 9)},
    )
    found = kserve_convert.statistics(value)
    assert (found.name, found.version, found.last_inference) == ("some", "1", 5)
    assert (found.inference_count, found.execution_count) == (6, 7)
    told = found.inference_stats
    every = [
        told.success,
        told.fail,
        told.queue,
        told.compute_input,
        told.compute_infer,
        told.compute_output,
    ]
    assert [Spent(one.count, one.ns) for one in every] == parts
    (batch,) = found.batch_stats
    assert (batch.batch_size, batch.compute_infer.count, batch.compute_infer.ns) == (4, 8, 9)


@given(st.binary(max_size=200))
def test_whatever_bytes_make_a_request_it_is_read_or_refused_by_name(content: bytes) -> None:
    head = asked(wav(), raw_input_contents=[b"12"]).SerializeToString()
    for message_bytes in (content, head + content):
        try:
            message = pb.ModelInferRequest.FromString(message_bytes)
        except DecodeError:
            continue
        try:
            found = kserve_convert.request(message)
        except TensorInvalid:
            continue
        assert len(found.inputs) == len(message.inputs)
