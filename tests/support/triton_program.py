"""Triton's own Python client against a daemon: `python triton_program.py WHAT ADDRESS FOLDER`.

A process of its own, for its messages and ours have the same names. It reads utterances.npz of the
folder, where WHAT needs audio, and leaves what it got there as JSON or npz.
"""

from __future__ import annotations

import asyncio
import queue
import sys
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from support.triton_asked import Float32, inputs, managed, refused, utterances, write


def wav(*samples: Float32, kind: Any = triton) -> list[Any]:
    """Give the inputs of utterances of one length."""
    return inputs(kind, *samples)


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
            "server": client.get_server_metadata(as_json=True),
            "metadata": client.get_model_metadata("speaker", as_json=True),
            "config": client.get_model_config("speaker", as_json=True)["config"],
            "index": client.get_model_repository_index(as_json=True)["models"],
            "statistics": client.get_inference_statistics(as_json=True)["model_stats"],
        },
    )


def inferred(client: Any, folder: Path) -> None:
    """Embed every utterance, alone, with all that a request can say."""
    results: dict[str, Float32] = {}
    for name, samples in utterances(folder).items():
        wanted = [triton.InferRequestedOutput("EMBEDDINGS")]
        result = client.infer(
            "speaker", wav(samples), "1", wanted, request_id=name, priority=1, timeout=1_000_000
        )
        response = result.get_response()
        assert (response.id, response.model_name) == (name, "speaker")
        assert response.model_version == "1"
        results[name] = result.as_numpy("EMBEDDINGS")
        assert result.get_output("EMBEDDINGS").datatype == "FP32"
    zipped = client.infer("speaker", wav(samples), compression_algorithm="gzip")
    assert np.array_equal(zipped.as_numpy("EMBEDDINGS"), results[name])
    np.savez(folder / "inferred.npz", allow_pickle=False, **results)


def inferred_async(address: str, folder: Path) -> None:
    """Embed every utterance at the same time, by grpc.aio, and as one stream."""
    audio = utterances(folder)

    async def requests() -> AsyncIterator[dict[str, Any]]:
        for name, samples in audio.items():
            yield {
                "model_name": "speaker",
                "inputs": wav(samples, kind=triton_aio),
                "request_id": name,
            }

    async def main() -> None:
        async with triton_aio.InferenceServerClient(address) as client:
            assert await client.is_server_ready()
            asked = [
                client.infer("speaker", wav(one, kind=triton_aio), request_id=name)
                for name, one in audio.items()
            ]
            results = {
                result.get_response().id: result.as_numpy("EMBEDDINGS")
                for result in await asyncio.gather(*asked)
            }
            np.savez(folder / "inferred.npz", allow_pickle=False, **results)
            streamed: dict[str, Float32] = {}
            async for result, error in client.stream_infer(requests()):
                assert error is None
                streamed[result.get_response().id] = result.as_numpy("EMBEDDINGS")
            assert list(streamed) == list(audio)
            np.savez(folder / "streamed.npz", allow_pickle=False, **streamed)

    asyncio.run(main())


def streamed(client: Any, folder: Path) -> None:
    """Send every utterance into one stream, with bad requests among them."""
    audio = utterances(folder)
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue(1000)
    client.start_stream(lambda result, error: answers.put((result, error)))
    for name, samples in audio.items():
        client.async_stream_infer("speaker", wav(samples), request_id=name)
        client.async_stream_infer("none", wav(samples), request_id=f"bad {name}")
    results, errors = {}, []
    for name in audio:
        result, error = answers.get(timeout=30)
        assert error is None
        response = result.get_response()
        assert response.id == name
        assert response.parameters["triton_final_response"].bool_param
        results[name] = result.as_numpy("EMBEDDINGS")
        _, error = answers.get(timeout=30)
        errors.append(error.message())
    client.stop_stream()
    np.savez(folder / "streamed.npz", allow_pickle=False, **results)
    write(folder, "streamed", errors)


def cancelled(client: Any, folder: Path) -> None:
    """Ask, take it back, and ask again."""
    good = np.random.default_rng(0).uniform(-0.5, 0.5, 16_000).astype(np.float32)
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue(10)

    def asked() -> Any:
        return client.async_infer(
            "speaker", wav(good), lambda result, error: answers.put((result, error))
        )

    asked()
    second = asked()
    time.sleep(0.3)
    second.cancel()
    _, error = answers.get(timeout=30)
    write(folder, "cancelled", error.status())
    result, _ = answers.get(timeout=30)
    assert result.as_numpy("EMBEDDINGS").shape == (1, 192)


def main() -> None:
    """Do what is asked."""
    what, address, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    if what == "inferred_async":
        inferred_async(address, folder)
        return
    ours = {one.__name__: one for one in (told, inferred, streamed, cancelled)}
    alike = {one.__name__: partial(one, triton) for one in (managed, refused)}
    with triton.InferenceServerClient(address) as client:
        (ours | alike)[what](client, folder)


if __name__ == "__main__":
    main()
