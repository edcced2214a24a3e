"""Reads the weights of a PyTorch zip checkpoint with numpy alone; nothing in it is executed.

The format: a zip archive with one pickle, `<root>/data.pkl`, that names tensors by storage, offset,
shape and strides, and one raw little-endian file per storage, `<root>/data/<key>`.
"""

from __future__ import annotations

import io
import math
import pickle
import struct
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from speakerd_server.errors import CheckpointRefused

Array = NDArray[Any]

_STORAGE_DTYPES = {
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "DoubleStorage": "<f8",
    "LongStorage": "<i8",
}

_BEFORE_ZIP = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)
"""How files of the format before the zip archive begin: a pickled number."""
_NO_ARCHIVE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    KeyError,
    OSError,
    RuntimeError,
    ValueError,
)
_DAMAGES = (
    pickle.UnpicklingError,
    ArithmeticError,
    AttributeError,
    IndexError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)


def read_checkpoint(content: bytes) -> dict[str, Array]:
    """Give the tensors of a checkpoint by parameter name, in the file's order.

    Args:
        content: The whole file.

    Returns:
        Arrays of float32, float16, float64 or int64 with the shapes in the file; all are copies.

    Raises:
        CheckpointRefused: The file is no such archive, or asks for anything but plain tensors.
    """
    if content.startswith(_BEFORE_ZIP):
        raise CheckpointRefused(
            "it is in PyTorch's format of before version 1.6; save it again with"
            " torch.save(torch.load(FILE, map_location='cpu', weights_only=True), NEW_FILE)"
        )
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            state = _Reader(archive).load()
    except _NO_ARCHIVE as error:
        raise CheckpointRefused(f"it is no PyTorch zip archive ({error})") from error
    if not isinstance(state, Mapping) or not all(
        isinstance(name, str) and isinstance(value, np.ndarray) for name, value in state.items()
    ):
        raise CheckpointRefused("it is not a mapping from parameter names to tensors")
    return dict(state)


@dataclass(frozen=True)
class _StorageType:
    """Stands in for a torch storage class: only its dtype is of use."""

    dtype: np.dtype[Any]


class _Reader:
    """Unpickles one archive."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        pickles = [name for name in archive.namelist() if name.split("/")[1:] == ["data.pkl"]]
        if len(pickles) != 1:
            raise CheckpointRefused("it is no PyTorch zip archive (no data.pkl)")
        self._pickle_name = pickles[0]
        self._root = pickles[0].split("/")[0]
        self._storages: dict[str, Array] = {}

    def load(self) -> object:
        unpickler = _WeightsUnpickler(io.BytesIO(self._read(self._pickle_name)), self._storage)
        try:
            return unpickler.load()
        except _DAMAGES as error:
            raise CheckpointRefused(f"its pickle is damaged ({error})") from error

    def _storage(self, dtype: np.dtype[Any], key: str) -> Array:
        if key not in self._storages:
            raw = self._read(f"{self._root}/data/{key}")
            self._storages[key] = np.frombuffer(raw, dtype=dtype)
        return self._storages[key]

    def _read(self, name: str) -> bytes:
        # What is not compressed cannot become larger than the file, whatever it says of itself.
        if self._archive.getinfo(name).compress_type != zipfile.ZIP_STORED:
            raise CheckpointRefused(f"its {name} is compressed; torch.save compresses nothing")
        return self._archive.read(name)


class _WeightsUnpickler(pickle.Unpickler):
    """Admits the few names that plain weights need, each mapped to code of this module."""

    def __init__(
        self, file: io.BytesIO, read_storage: Callable[[np.dtype[Any], str], Array]
    ) -> None:
        super().__init__(file)
        self._read_storage = read_storage

    def find_class(self, module: str, name: str) -> Any:
        match (module, name):
            case ("collections", "OrderedDict"):
                return OrderedDict
            case ("torch._utils", "_rebuild_tensor_v2"):
                return _rebuild_tensor
            case ("torch._utils", "_rebuild_parameter"):
                return _rebuild_parameter
            case ("torch", _) if name in _STORAGE_DTYPES:
                return _StorageType(np.dtype(_STORAGE_DTYPES[name]))
        raise CheckpointRefused(f"it asks for {module}.{name}; only plain weights are read")

    def persistent_load(self, pid: Any) -> Array:
        match pid:
            case ("storage", _StorageType() as storage, str(key), _, int()):
                return self._read_storage(storage.dtype, key)
        raise CheckpointRefused("a tensor names its storage in an unknown way")


def _rebuild_tensor(
    storage: Array, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: object
) -> Array:
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    numbers = (offset, *shape, *strides)
    fits = math.prod(shape) <= storage.size and last < storage.size
    if min(numbers) < 0 or not (fits or 0 in shape):
        raise CheckpointRefused(f"a tensor of shape {shape} lies outside its storage")
    if 0 in shape:
        return np.zeros(shape, storage.dtype)
    view = np.lib.stride_tricks.as_strided(
        storage[offset:], shape, [stride * storage.itemsize for stride in strides], writeable=False
    )
    return np.array(view)


def _rebuild_parameter(data: object, *_: object) -> Array:
    return cast(Array, data)
