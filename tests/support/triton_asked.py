"""What both programs over Triton's own client do alike, over gRPC and over HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tritonclient.utils import InferenceServerException

Float32 = np.ndarray[Any, np.dtype[np.float32]]


def utterances(folder: Path) -> dict[str, Float32]:
    """Read the audio, float32[n] each, by name."""
    with np.load(folder / "utterances.npz") as file:
        return {name: file[name] for name in file.files}


def inputs(kind: Any, *samples: Float32, **how: Any) -> list[Any]:
    """Give the inputs of utterances of one length, as a module of the client makes them."""
    batch = np.stack(samples)
    one = kind.InferInput("WAV", list(batch.shape), "FP32")
    one.set_data_from_numpy(batch, **how)
    return [one]


def write(folder: Path, name: str, value: object) -> None:
    """Leave something as JSON."""
    (folder / f"{name}.json").write_text(json.dumps(value))


def managed(triton: Any, client: Any, folder: Path) -> None:
    """Load a bundle, use it, unload it."""
    (samples, *_) = utterances(folder).values()
    ready = [client.is_model_ready("campplus-int8")]
    client.load_model("campplus-int8")
    ready.append(client.is_model_ready("campplus-int8", "1"))
    result = client.infer("campplus-int8", inputs(triton, samples))
    client.unload_model("campplus-int8")
    ready.append(client.is_model_ready("campplus-int8"))
    refused = {}
    orders: dict[str, Callable[[], Any]] = {
        "load none": lambda: client.load_model("none"),
        "load configured": lambda: client.load_model("campplus", config="{}"),
        "unload campplus": lambda: client.unload_model("campplus"),
    }
    for name, order in orders.items():
        try:
            order()
        except InferenceServerException as error:
            refused[name] = error.status()
    shape = list(result.as_numpy("EMBEDDINGS").shape)
    write(folder, "managed", {"ready": ready, "shape": shape, "refused": refused})


def refused(triton: Any, client: Any, folder: Path) -> None:
    """Make every mistake that this client lets one make, and keep what it raises."""
    good = np.random.default_rng(0).uniform(-0.5, 0.5, 16_000).astype(np.float32)

    def given(name: str, values: Any, datatype: str) -> list[Any]:
        one = triton.InferInput(name, list(values.shape), datatype)
        one.set_data_from_numpy(values)
        return [one]

    shared = triton.InferInput("WAV", [1, 100], "FP32")
    shared.set_shared_memory("region", 400)
    classes = [triton.InferRequestedOutput("EMBEDDINGS", class_count=3)]
    outputs = [triton.InferRequestedOutput("embs")]
    mistakes: dict[str, dict[str, Any]] = {
        "model": {"model_name": "none"},
        "version": {"model_version": "7"},
        "name": {"inputs": given("wav", good[None], "FP32")},
        "datatype": {"inputs": given("WAV", good[None].astype(np.float64), "FP64")},
        "shape": {"inputs": given("WAV", good, "FP32")},
        "batch 0": {"inputs": given("WAV", good[None][:0], "FP32")},
        "batch 100": {"inputs": given("WAV", np.stack([good] * 100), "FP32")},
        "nan": {"inputs": given("WAV", good[None] * np.float32(np.nan), "FP32")},
        "silence": {"inputs": given("WAV", np.zeros((1, 16_000), np.float32), "FP32")},
        "short": {"inputs": given("WAV", good[None, :500], "FP32")},
        "output": {"outputs": outputs},
        "classes": {"outputs": classes},
        "shared": {"inputs": [shared]},
        "sequence": {"sequence_id": 5, "sequence_start": True},
    }
    found = {}
    for name, changes in mistakes.items():
        call = {
            "model_name": "speaker",
            "inputs": inputs(triton, good),
            "request_id": name,
        } | changes
        try:
            client.infer(**call)
        except InferenceServerException as error:
            found[name] = [error.status(), error.message()]
    write(folder, "refused", found)
