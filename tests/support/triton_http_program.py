"""Triton's own Python client over HTTP: `python triton_http_program.py WHAT ADDRESS FOLDER`.

As triton_program.py, whose messages are those of gRPC.
"""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from support.triton_asked import Float32, inputs, managed, refused, utterances, write


def wav(*samples: Float32, binary: bool = True) -> list[Any]:
    """Give the inputs of utterances of one length."""
    return inputs(triton, *samples, binary_data=binary)


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


def main() -> None:
    """Do what is asked."""
    what, address, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    if what == "asynchronous":
        asynchronous(address, folder)
        return
    ours = {one.__name__: one for one in (told, inferred, compressed, at_once)}
    alike = {one.__name__: partial(one, triton) for one in (managed, refused)}
    with triton.InferenceServerClient(address, concurrency=8) as client:
        (ours | alike)[what](client, folder)


if __name__ == "__main__":
    main()
