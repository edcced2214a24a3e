from __future__ import annotations

import asyncio
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from speakerd_server.errors import BodyInvalid
from speakerd_server.wire.kserve_http_json import (
    AROUND_BYTES,
    Numbers,
    packed,
    parse,
)

FLOATS = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=60)
INTEGERS = st.lists(st.integers(-(2**63), 2**63 - 1), max_size=60)
PIECES = st.sampled_from(
    ["[", "]", "{", "}", ",", ":", '"data"', '"data":[', "1", "-2.5e3", "NaN", "Infinity", " ", '"']
)
KEYS = st.text().filter(lambda one: one != "data")
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


def numbers_of(text: str | bytes) -> Numbers:
    content = text.encode() if isinstance(text, str) else text
    found = parse(b'{"data": ' + content + b"}")["data"]
    assert isinstance(found, Numbers)
    return found


def read(text: str | bytes, datatype: str = "FP32") -> NDArray[Any]:
    dtype = {"FP32": "<f4", "INT64": "<i8"}[datatype]
    data = asyncio.run(packed(numbers_of(text), datatype))
    return np.frombuffer(data, dtype) if len(data) else np.empty(0, dtype)


@given(FLOATS)
@example([3.4028234663852886e38, 1.401298464324817e-45, -0.0])
def test_floats_come_back_to_the_bit(values: list[float]) -> None:
    wanted = np.array(values, np.float32)
    assert read(json.dumps(wanted.tolist())).tobytes() == wanted.tobytes()


@given(INTEGERS)
def test_integers_come_back_whole(values: list[int]) -> None:
    assert read(json.dumps(values), "INT64").tolist() == values


@given(st.integers(1, 5), st.integers(1, 5), st.sampled_from([None, 1, "\t"]))
def test_rows_may_be_lists_of_their_own(rows: int, columns: int, indent: Any) -> None:
    values = np.arange(rows * columns, dtype=np.float32).reshape(rows, columns)
    assert read(json.dumps(values.tolist(), indent=indent)).tolist() == values.ravel().tolist()


@given(VALUES)
def test_all_else_is_what_the_standard_library_reads(value: Any) -> None:
    said = {"some": value, "text": json.dumps({"data": [1, 2]}), 'a"data': [3]}
    assert parse(json.dumps(said).encode()) == said


@given(st.one_of(st.binary(max_size=200), st.lists(PIECES).map(lambda one: "".join(one).encode())))
def test_whatever_comes_is_read_or_refused_by_name(text: bytes) -> None:
    def all_numbers(part: Any) -> list[Numbers]:
        inner = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
        found = [part] if isinstance(part, Numbers) else []
        return found + [one for each in inner for one in all_numbers(each)]

    try:
        for one in all_numbers(parse(text)):
            asyncio.run(packed(one, "FP32"))
    except BodyInvalid:
        return
    assert not text.strip() or isinstance(json.loads(text), dict)


@pytest.mark.parametrize("text", [b"", b"  \n", b"{}"])
def test_nothing_is_an_empty_object(text: bytes) -> None:
    assert parse(text) == {}


@pytest.mark.parametrize(
    "text",
    [
        b"[]",
        b"1",
        b"{",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": -Infinity}',
        b'{"data": [1',
        b'{"data": [1]',
        b'{"data": [1]]}',
        b'{"data": Infinity, "inputs": [{"data": [1]}]}',
        b"\xff\xfe{\0}\0",
        b'{"a": "\xff"}',
        b"[" * 100_000,
        b'{"a":' * 10_000,
        b'{"data": ' + b"[" * 100_000,
        b'{"data": ' + b"[" * 4097 + b"1" + b"]" * 4097 + b"}",
        b'{"id": "' + b"a" * AROUND_BYTES + b'"}',
        b'{"data"' * 20_000,
    ],
    ids=lambda text: text[:24].decode("latin-1"),
)
def test_what_is_no_json_object_or_too_much_is_refused(text: bytes) -> None:
    with pytest.raises(BodyInvalid):
        parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "[NaN]",
        "[Infinity]",
        "[true]",
        "[null]",
        '["1.5"]',
        "[{}]",
        "[1 2]",
        "[1[2]]",
        "[1,,2]",
        "[1,2,]",
        "[,]",
        "[[],[]]",
        "[1_0]",
        "[0x1]",
        "[1." + "0" * 70_000 + "]",
        "[" + "1" * 5_000 + "]",
        "[" + "1," * 32_768 + "]",
        "[" + "1," * 40_000 + "NaN]",
    ],
    ids=lambda text: text[:12],
)
def test_what_is_no_list_of_numbers_is_refused(text: str) -> None:
    with pytest.raises(BodyInvalid):
        read(text)


@pytest.mark.parametrize("text", ["[1.0]", "[1e3]", f"[{2**63}]", "[true]"])
def test_a_whole_number_is_written_as_one_and_has_64_bits(text: str) -> None:
    with pytest.raises(BodyInvalid):
        read(text, "INT64")


def test_a_number_beyond_float_is_infinite_which_the_model_refuses() -> None:
    assert math.isinf(read("[1e300]")[0])


def test_data_of_another_datatype_is_not_even_looked_at() -> None:
    assert asyncio.run(packed(numbers_of('["some", true]'), "BYTES")) == b""


def test_a_list_under_another_spelling_of_the_key_is_no_data() -> None:
    assert parse(b'{"d\\u0061ta": [1]}') == {"data": [1]}
    found = parse(b'{"a\\"data": [1], "data": [2]}')
    assert found['a"data'] == [1]
    assert isinstance(found["data"], Numbers)


def test_a_long_list_is_cut_at_every_place_without_a_trace() -> None:
    values = np.random.default_rng(0).uniform(-1, 1, 50_000).astype(np.float32)
    for digits in (3, 17):
        text = json.dumps([float(f"{one:.{digits}g}") for one in values.tolist()])
        wanted = np.array(json.loads(text), np.float32)
        assert np.array_equal(read(text), wanted)


async def test_other_calls_go_on_while_a_long_list_is_read() -> None:
    numbers = numbers_of(json.dumps([0.25] * 400_000))
    reading = asyncio.create_task(packed(numbers, "FP32"))
    turns = 0
    while not reading.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns > 10
    assert len(reading.result()) == 1_600_000
