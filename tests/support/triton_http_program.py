"""Triton's own Python client over HTTP: `python triton_http_program.py WHAT ADDRESS FOLDER`.

As triton_program.py, whose messages are those of gRPC.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from tritonclient.utils import InferenceServerException

Float32 = np.ndarray[Any, np.dtype[np.float32]]


def utterances(folder: Path) -> dict[str, Float32]:
    """Read the audio, float32[n] each, by name."""
    with np.load(folder / "utterances.npz") as file:
        return {name: file[name] for name in file.files}


def wav(*samples: Float32, binary: bool = True) -> list[Any]:
    """Give the inputs of utterances of one length."""
    batch = np.stack(samples)
    one = triton.InferInput("WAV", list(batch.shape), "FP32")
    one.set_data_from_numpy(batch, binary_data=binary)
    return [one]


def write(folder: Path, name: str, value: object) -> None:
    """Leave something as JSON."""
    (folder / f"{name}.json").write_text(json.dumps(value))


def told(client: Any, folder: Path) -> None:
    """Ask all that can be asked but inference."""
    write(
        folder,
        "told",
        {
            "live": client.is_server_live(),
            "ready": client.is_server_ready(),
            "models": {
                name: client.is_model_ready(name)
                for name in ("speaker", "speaker_model", "speaker_windows", "campplus", "none")
            },
            "versions": [client.is_model_ready("speaker", version) for version in ("1", "2")],
            "server": client.get_server_metadata(),
            "metadata": client.get_model_metadata("speaker"),
            "of_version": client.get_model_metadata("speaker", "1"),
            "config": client.get_model_config("speaker", "1"),
            "index": client.get_model_repository_index(),
            "statistics": client.get_inference_statistics()["model_stats"],
            "of_speaker": client.get_inference_statistics("speaker", "1")["model_stats"],
        },
    )


def inferred(client: Any, folder: Path) -> None:
    """Embed every utterance, alone, with all that a request can say."""
    results: dict[str, Float32] = {}
    for name, samples in utterances(folder).items():
        wanted = [triton.InferRequestedOutput("EMBEDDINGS", binary_data=True)]
        result = client.infer(
            "speaker", wav(samples), "1", wanted, request_id=name, priority=1, timeout=1_000_000
        )
        response = result.get_response()
        assert (response["id"], response["model_name"]) == (name, "speaker")
        assert response["model_version"] == "1"
        results[name] = result.as_numpy("EMBEDDINGS")
        assert result.get_output("EMBEDDINGS")["datatype"] == "FP32"
        for binary in (True, False):
            outputs = [triton.InferRequestedOutput("EMBEDDINGS", binary_data=binary)]
            for asked in (None, outputs):
                again = client.infer("speaker", wav(samples, binary=not binary), outputs=asked)
                assert np.allclose(again.as_numpy("EMBEDDINGS"), results[name], atol=1e-4)
    np.savez(folder / "inferred.npz", allow_pickle=False, **results)


def compressed(client: Any, folder: Path) -> None:
    """Embed every utterance with each compression of each direction."""
    results: dict[str, Float32] = {}
    for name, samples in utterances(folder).items():
        for there in (None, "gzip", "deflate"):
            for back in (None, "gzip", "deflate"):
                result = client.infer(
                    "speaker",
                    wav(samples),
                    request_compression_algorithm=there,
                    response_compression_algorithm=back,
                )
                results[f"{name} {there} {back}"] = result.as_numpy("EMBEDDINGS")
    np.savez(folder / "compressed.npz", allow_pickle=False, **results)


def at_once(client: Any, folder: Path) -> None:
    """Embed every utterance at the same time, over connections of its own."""
    asked = {
        name: client.async_infer("speaker", wav(samples), request_id=name)
        for name, samples in utterances(folder).items()
    }
    results = {}
    for name, one in asked.items():
        result = one.get_result()
        assert result.get_response()["id"] == name
        results[name] = result.as_numpy("EMBEDDINGS")
    np.savez(folder / "at_once.npz", allow_pickle=False, **results)


def asynchronous(address: str, folder: Path) -> None:
    """Do the same by http.aio, which is over aiohttp."""

    async def main() -> None:
        async with triton_aio.InferenceServerClient(address) as client:
            assert await client.is_server_ready()
            audio = utterances(folder)
            asked = [
                client.infer(
                    "speaker",
                    wav(samples),
                    request_id=name,
                    request_compression_algorithm="gzip" if number % 2 else None,
                    response_compression_algorithm="deflate" if number % 3 else None,
                )
                for number, (name, samples) in enumerate(audio.items())
            ]
            results = {
                result.get_response()["id"]: result.as_numpy("EMBEDDINGS")
                for result in await asyncio.gather(*asked)
            }
            np.savez(folder / "asynchronous.npz", allow_pickle=False, **results)

    asyncio.run(main())


def managed(client: Any, folder: Path) -> None:
    """Load a bundle, use it, unload it."""
    (samples, *_) = utterances(folder).values()
    ready = [client.is_model_ready("campplus-int8")]
    client.load_model("campplus-int8")
    ready.append(client.is_model_ready("campplus-int8", "1"))
    result = client.infer("campplus-int8", wav(samples))
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


def refused(client: Any, folder: Path) -> None:
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
        call = {"model_name": "speaker", "inputs": wav(good), "request_id": name} | changes
        try:
            client.infer(**call)
        except InferenceServerException as error:
            found[name] = [error.status(), error.message()]
    write(folder, "refused", found)


def main() -> None:
    """Do what is asked."""
    what, address, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    if what == "asynchronous":
        asynchronous(address, folder)
        return
    with triton.InferenceServerClient(address, concurrency=8) as client:
        {one.__name__: one for one in (told, inferred, compressed, at_once, managed, refused)}[
            what
        ](client, folder)


if __name__ == "__main__":
    main()
