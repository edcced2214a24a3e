"""Writes checkpoints as torch does, without torch."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

_STORAGES = {"<f4": "FloatStorage", "<f8": "DoubleStorage", "<i8": "LongStorage"}
_BEGIN = b"ccollections\nOrderedDict\n)R"


def torch_zip(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Give the file that torch.save writes for named tensors."""
    pickled, storages = _BEGIN, {}
    for key, (name, array) in enumerate(arrays.items()):
        pickled += _plain(name) + _tensor(str(key), array) + b"s"
        storages[str(key)] = array.tobytes()
    return archive(pickled + b".", storages)


def archive(pickled: bytes, storages: Mapping[str, bytes]) -> bytes:
    """Give a file with any pickle in the place of the tensors' names."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as out:
        # Without a date, so that the same tensors are the same bytes.
        out.writestr(zipfile.ZipInfo("avg_model/data.pkl"), pickled)
        for key, content in storages.items():
            out.writestr(zipfile.ZipInfo(f"avg_model/data/{key}"), content)
    return file.getvalue()


def _tensor(key: str, array: NDArray[Any]) -> bytes:
    strides = [step // array.itemsize for step in array.copy(order="C").strides]
    storage = b"(" + _plain("storage") + b"ctorch\n" + _STORAGES[array.dtype.str].encode() + b"\n"
    storage += _plain(key) + _plain("cpu") + _plain(array.size) + b"tQ"
    numbers = b"".join(
        b"(" + b"".join(map(_plain, values)) + b"t" for values in (array.shape, strides)
    )
    arguments = storage + _plain(0) + numbers + b"I00\n" + _BEGIN
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"tR"


def _plain(value: str | int) -> bytes:
    """Give the opcodes of a word or number, without the memo that nothing asks for."""
    return pickle.dumps(value, protocol=0)[:-1].removesuffix(b"p0\n")
