from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st
from speakerd_server.calls.inference_values import (
    InferenceReply,
    InferenceRequest,
    ModelConfiguration,
    ModelDescription,
    ModelListing,
    ModelStatistics,
    Spent,
    Tensor,
    TensorDescription,
    WantedOutput,
)
from speakerd_server.errors import BodyInvalid, TensorInvalid
from speakerd_server.wire import kserve_convert
from speakerd_server.wire import kserve_http_convert as convert
from speakerd_server.wire.kserve_http_json import parse

FLOATS = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=100)
DESCRIBED = ModelDescription(
    "some",
    ("1", "beta"),
    "speakerd",
    (TensorDescription("pcm", "FP32", (-1, -1)), TensorDescription("rows", "INT64", (-1, -1))),
    (TensorDescription("embeddings", "FP32", (-1, 192)),),
)
WORDS = "inputs outputs name shape datatype data parameters id binary_data_size"
ANYTHING: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(WORDS.split()), inner, max_size=5)
    ),
    max_leaves=20,
)


def read(said: Any, binary: bytes = b"") -> InferenceRequest:
    text = said if isinstance(said, bytes) else json.dumps(said).encode()
    return asyncio.run(convert.request("some", "1", parse(text), binary))


def one(**changes: Any) -> dict[str, Any]:
    given = {"name": "WAV", "datatype": "FP32", "shape": [1, 3], "data": [1, 2.5, -3]}
    return {name: value for name, value in (given | changes).items() if value is not None}


def sized(size: Any, **changes: Any) -> dict[str, Any]:
    return one(data=None, parameters={"binary_data_size": size}, **changes)


@given(FLOATS)
def test_floats_are_the_same_in_json_and_as_binary_data(values: list[float]) -> None:
    data = np.array(values, np.float32)
    (plain,) = read({"inputs": [one(data=data.tolist())]}).inputs
    (binary,) = read({"inputs": [sized(data.nbytes)]}, data.tobytes()).inputs
    assert bytes(plain.data) == bytes(binary.data) == data.tobytes()
    assert (plain.name, plain.datatype, plain.shape) == ("WAV", "FP32", (1, 3))


def test_a_request_says_all_that_it_can() -> None:
    found = read(
        {
            "id": "\u00e9 any \n",
            "parameters": {"sequence_id": 5, "binary_data_output": True},
            "inputs": [one()],
            "outputs": [{"name": "EMBEDDINGS", "parameters": {"classification": 2}}],
            "unknown": {"is": ["ignored"]},
        }
    )
    assert (found.model, found.version, found.id) == ("some", "1", "\u00e9 any \n")
    assert found.parameters == {"sequence_id": 5, "binary_data_output": True}
    assert found.outputs == (WantedOutput("EMBEDDINGS", {"classification": 2}),)


def test_each_input_takes_its_bytes_in_order_and_others_may_be_json_between() -> None:
    pcm, rows = np.arange(3, dtype=np.float32), np.arange(2, dtype=np.int64)
    found = read(
        {
            "inputs": [
                sized(pcm.nbytes),
                one(),
                sized(rows.nbytes, name="rows", datatype="INT64", shape=[1, 2]),
                one(name="shared", data=None, parameters={"shared_memory_region": "some"}),
            ]
        },
        pcm.tobytes() + rows.tobytes(),
    ).inputs
    wanted = [pcm.tobytes(), np.array([1, 2.5, -3], np.float32).tobytes(), rows.tobytes(), b""]
    assert [bytes(tensor.data) for tensor in found] == wanted


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({}, "must have 'inputs'"),
        ({"inputs": {}}, "must have 'inputs'"),
        ({"inputs": [1]}, "must have 'inputs'"),
        ({"inputs": [one()], "outputs": ["a"]}, "must have 'outputs'"),
        ({"inputs": [one(name=None)]}, "must have 'name'"),
        ({"inputs": [one(name=1)]}, "must have 'name'"),
        ({"inputs": [one(name="\ud800")]}, "no Unicode"),
        ({"inputs": [one()], "id": 5}, "must have 'id'"),
        ({"inputs": [one(datatype=None)]}, "must have 'datatype'"),
        ({"inputs": [one(shape=None)]}, "must have 'shape'"),
        ({"inputs": [one(shape=[1.0, 3])]}, "must have 'shape'"),
        ({"inputs": [one(shape=[True, 3])]}, "must have 'shape'"),
        ({"inputs": [one(shape=[2**63, 3])]}, "must have 'shape'"),
        ({"inputs": [one(parameters=[])]}, "must have 'parameters'"),
        ({"inputs": [one(parameters={"a": None})]}, "must have 'parameters'"),
        ({"inputs": [one(parameters={"a": [1]})]}, "must have 'parameters'"),
        ({"inputs": [one(data=["a"])]}, "no list of numbers|not a list of such numbers"),
    ],
)
def test_json_of_another_form_is_refused_with_what_is_missing(said: Any, told: str) -> None:
    with pytest.raises(BodyInvalid, match=told):
        read(said)


@pytest.mark.parametrize(
    ("said", "binary", "told"),
    [
        ([one(data=None)], 0, "must have 'data' or 'binary_data_size'"),
        ([one(data=5)], 0, "no list of numbers"),
        ([one(data="1,2,3")], 0, "no list of numbers"),
        ([one()], 4, "unexpected additional input data for model 'some': 4 bytes"),
        ([sized(12)], 16, "unexpected additional input data"),
        ([sized(12)], 8, "'binary_data_size' of input 'WAV' is 12, and 8 bytes are left"),
        ([sized(12), sized(12)], 20, "is 12, and 8 bytes are left"),
        ([sized(-1)], 12, "is -1, and 12 bytes"),
        ([sized(12.0)], 12, "is 12.0, and 12 bytes"),
        ([sized(True)], 12, "is True, and 12 bytes"),
        ([sized("12")], 12, "is 12, and 12 bytes"),
        ([sized(10**40)], 12, "is 1000000"),
        ([one(parameters={"binary_data_size": 12})], 12, "both 'data' and 'binary_data_size'"),
        ([one()] * 17, 0, "at most 16 inputs"),
        ([one(shape=[1] * 9)], 0, "at most 8 dimensions"),
        ([one(parameters={str(n): n for n in range(65)})], 0, "at most 64 parameters"),
    ],
)
def test_values_that_are_missing_or_left_are_told(said: Any, binary: int, told: str) -> None:
    with pytest.raises(TensorInvalid, match=told):
        read({"inputs": said}, bytes(binary))


@given(ANYTHING, st.binary(max_size=20))
def test_any_json_is_read_or_refused_by_name(said: Any, binary: bytes) -> None:
    with suppress(BodyInvalid, TensorInvalid):
        read(said if isinstance(said, dict) else {"inputs": said}, binary)


def replied(
    values: list[float], *outputs: WantedOutput, **parameters: Any
) -> tuple[bytes, int | None]:
    asked = InferenceRequest("some", "", (), outputs, "7", parameters)
    data = np.array(values, np.float32)
    tensor = Tensor("embs", "FP32", (1, len(values)), data.tobytes())
    return convert.reply(asked, InferenceReply("some", "1", "7", (tensor,)))


@given(FLOATS)
def test_an_answer_is_the_same_in_json_and_as_binary_data(values: list[float]) -> None:
    text, nothing = replied(values)
    assert nothing is None
    said = json.loads(text)
    assert np.array(said["outputs"][0].pop("data"), np.float32).tolist() == values
    content, length = replied(values, binary_data_output=True)
    assert length is not None
    same = json.loads(content[:length])
    assert same["outputs"][0].pop("parameters") == {"binary_data_size": 4 * len(values)}
    assert np.frombuffer(content[length:], "<f4").tolist() == values
    assert said == same
    assert said["outputs"] == [{"name": "embs", "datatype": "FP32", "shape": [1, len(values)]}]
    assert (said["model_name"], said["model_version"], said["id"]) == ("some", "1", "7")


@pytest.mark.parametrize("whole", [None, True, False])
@pytest.mark.parametrize("own", [None, True, False])
def test_an_output_s_own_wish_comes_before_that_of_the_request(
    whole: bool | None, own: bool | None
) -> None:
    output = WantedOutput("embs", {} if own is None else {"binary_data": own})
    wish = {} if whole is None else {"binary_data_output": whole}
    _, length = replied([1.0], output, **wish)
    assert (length is not None) == bool(whole if own is None else own)


def of_grpc(message: Any) -> Any:
    """Write a message as Triton writes it over HTTP: by its own names, with numbers for numbers."""

    def numbered(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: numbered(one) for key, one in value.items()}
        if isinstance(value, list):
            return [numbered(one) for one in value]
        is_number = isinstance(value, str) and value.lstrip("-").isdecimal()
        return int(value) if is_number else value

    return numbered(json_format.MessageToDict(message, preserving_proto_field_name=True))


def holds(whole: Any, part: Any) -> bool:
    if isinstance(part, dict):
        return all(name in whole and holds(whole[name], value) for name, value in part.items())
    if isinstance(part, list):
        return len(whole) == len(part) and all(map(holds, whole, part))
    return bool(whole == part)


@pytest.mark.parametrize(
    "devices", [(), ("cpu",), ("gpu:0", "gpu:3", "cpu"), ("kserve:10.0.0.7:8001",)]
)
def test_a_configuration_says_what_it_says_over_grpc(devices: tuple[str, ...]) -> None:
    value = ModelConfiguration(DESCRIBED, 8, (4, 16), devices)
    said = json.loads(convert.written(convert.config(value)))
    assert holds(said, of_grpc(kserve_convert.config(value).config))
    assert "ensemble_scheduling" not in said


def test_metadata_say_what_they_say_over_grpc() -> None:
    said = json.loads(convert.written(convert.metadata(DESCRIBED)))
    said["versions"] = [int(one) if one.isdecimal() else one for one in said["versions"]]
    assert said == of_grpc(kserve_convert.metadata(DESCRIBED))


def test_statistics_say_what_they_say_over_grpc() -> None:
    a, b, c, d, e, f, g = (Spent(number, 10 * number) for number in range(1, 8))
    value = ModelStatistics("some", "beta", 5, 6, 7, a, b, c, d, e, f, {8: g})
    said = json.loads(convert.written(convert.statistics(value)))
    assert holds(said, of_grpc(kserve_convert.statistics(value)))


def test_a_listing_has_all_four_parts() -> None:
    value = ModelListing("some", "1", "UNAVAILABLE", "why")
    assert list(convert.listing(value).values()) == ["some", "1", "UNAVAILABLE", "why"]
