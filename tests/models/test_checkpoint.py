from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from speakerd_server.errors import CheckpointRefused
from speakerd_server.models.checkpoint import read_checkpoint

STORAGE_NAMES = {
    "<f4": "FloatStorage",
    "<f2": "HalfStorage",
    "<f8": "DoubleStorage",
    "<i8": "LongStorage",
}


def rebuild(module: str, name: str, arguments: bytes) -> bytes:
    return b"c" + module.encode() + b"\n" + name.encode() + b"\n" + arguments + b"R"


def as_pickle(value: object) -> bytes:
    """Give the opcodes of a plain value, without the pickle's header and stop."""
    return pickle.dumps(value, protocol=0)[:-1].replace(b"p0\n", b"").replace(b"p1\n", b"")


def tensor(
    key: str, dtype: str, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]
) -> bytes:
    storage = b"(" + as_pickle("storage") + b"ctorch\n" + STORAGE_NAMES[dtype].encode() + b"\n"
    storage += as_pickle(key) + as_pickle("cpu") + as_pickle(1) + b"tQ"
    numbers = b"".join(b"(" + b"".join(map(as_pickle, value)) + b"t" for value in (shape, strides))
    hooks = b"I00\n" + rebuild("collections", "OrderedDict", b")")
    return rebuild(
        "torch._utils",
        "_rebuild_tensor_v2",
        b"(" + storage + as_pickle(offset) + numbers + hooks + b"t",
    )


def checkpoint(tensors: dict[str, bytes], storages: dict[str, Any]) -> bytes:
    items = b"".join(as_pickle(name) + value + b"s" for name, value in tensors.items())
    return archive(rebuild("collections", "OrderedDict", b")") + items + b".", storages)


def archive(pickled: bytes, storages: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as out:
        out.writestr("archive/data.pkl", pickled)
        for key, array in storages.items():
            out.writestr(f"archive/data/{key}", array.tobytes())
    return file.getvalue()


@pytest.mark.parametrize("dtype", STORAGE_NAMES)
def test_all_kinds_of_numbers_are_read(dtype: str) -> None:
    array = np.arange(6).astype(dtype)
    read = read_checkpoint(checkpoint({"a": tensor("0", dtype, 0, (2, 3), (3, 1))}, {"0": array}))
    assert read["a"].dtype == np.dtype(dtype)
    np.testing.assert_array_equal(read["a"], array.reshape(2, 3))


def test_tensors_may_share_a_storage_and_have_any_strides() -> None:
    array = np.arange(12, dtype="<f4")
    tensors = {
        "transposed": tensor("0", "<f4", 0, (4, 3), (1, 4)),
        "part": tensor("0", "<f4", 5, (3,), (2,)),
        "number": tensor("0", "<f4", 7, (), ()),
        "empty": tensor("0", "<f4", 12, (0, 3), (3, 1)),
    }
    read = read_checkpoint(checkpoint(tensors, {"0": array}))
    assert list(read) == list(tensors)
    np.testing.assert_array_equal(read["transposed"], array.reshape(3, 4).T)
    np.testing.assert_array_equal(read["part"], [5, 7, 9])
    assert read["number"] == 7
    assert read["empty"].shape == (0, 3)


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [(0, (5,), (1,)), (3, (2,), (1,)), (-1, (1,), (1,)), (0, (2, 2), (3, 1)), (0, (10**12,), (0,))],
)
def test_a_tensor_outside_its_storage_is_refused(
    offset: int, shape: tuple[int, ...], strides: tuple[int, ...]
) -> None:
    content = checkpoint(
        {"a": tensor("0", "<f4", offset, shape, strides)}, {"0": np.zeros(4, "<f4")}
    )
    with pytest.raises(CheckpointRefused, match="outside its storage"):
        read_checkpoint(content)


class Evil:
    """Would end the process if it were unpickled by anything that executes."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os._exit, (3,)


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_that_would_execute_code_is_refused_by_name(protocol: int) -> None:
    with pytest.raises(CheckpointRefused, match=r"\._exit; only plain weights"):
        read_checkpoint(archive(pickle.dumps({"a": Evil()}, protocol), {}))


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("builtins", "eval"),
        ("torch", "load"),
        ("torch._utils", "_rebuild_sparse_tensor"),
        ("torch.storage", "_load_from_bytes"),
        ("collections", "OrderedDict.fromkeys"),
        ("numpy.core.multiarray", "_reconstruct"),
    ],
)
def test_every_other_name_is_refused(module: str, name: str) -> None:
    with pytest.raises(CheckpointRefused, match="only plain weights"):
        read_checkpoint(archive(rebuild(module, name, b")") + b".", {}))


@pytest.mark.parametrize(
    ("value", "problem"),
    [(OrderedDict(a=1), "mapping"), ([1], "mapping"), ({1: 2}, "mapping")],
)
def test_anything_but_named_tensors_is_refused(value: object, problem: str) -> None:
    with pytest.raises(CheckpointRefused, match=problem):
        read_checkpoint(archive(pickle.dumps(value), {}))


def test_a_missing_storage_is_refused() -> None:
    with pytest.raises(CheckpointRefused, match="data/0"):
        read_checkpoint(checkpoint({"a": tensor("0", "<f4", 0, (1,), (1,))}, {}))


@pytest.mark.parametrize("entry", ["data.pkl", "data/0"])
def test_what_is_compressed_is_refused_unread(entry: str) -> None:
    whole = checkpoint({"a": tensor("0", "<f4", 0, (2,), (1,))}, {"0": np.zeros(2, "<f4")})
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(file, "w") as new:
        for name in old.namelist():
            compressed = name.endswith(entry)
            kind = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
            new.writestr(name, old.read(name), kind)
    with pytest.raises(CheckpointRefused, match=f"{entry} is compressed"):
        read_checkpoint(file.getvalue())


@given(st.binary(max_size=200))
def test_bytes_that_are_no_archive_are_refused(content: bytes) -> None:
    with pytest.raises(CheckpointRefused):
        read_checkpoint(content)


@given(st.binary(max_size=100))
def test_a_damaged_pickle_is_refused(pickled: bytes) -> None:
    with pytest.raises(CheckpointRefused):
        read_checkpoint(archive(b"\x80\x02" + pickled, {}))


@given(st.integers(0, 10**6), st.integers(1, 255))
def test_a_flipped_byte_gives_numbers_or_a_refusal_but_no_other_error(
    place: int, flip: int
) -> None:
    content = bytearray(
        checkpoint({"a": tensor("0", "<f4", 0, (2,), (1,))}, {"0": np.zeros(2, "<f4")})
    )
    content[place % len(content)] ^= flip
    try:
        read = read_checkpoint(bytes(content))
    except CheckpointRefused:
        return
    assert all(isinstance(array, np.ndarray) for array in read.values())
