"""Inference requests as values, and an `Inference` over a real batcher of a small model."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from speakerd_server.calls.inference import Inference
from speakerd_server.calls.inference_catalog import KserveSettings
from speakerd_server.calls.inference_values import InferenceReply, InferenceRequest, Tensor
from speakerd_server.cards import Bundle
from speakerd_server.engine.lanes import Lanes
from speakerd_server.values import Float32, Window
from support.administered import Administered, administered, opened

DATATYPES = {np.dtype(np.float32): "FP32", np.dtype(np.int64): "INT64"}


def tensor(name: str, values: NDArray[Any], /, **changes: Any) -> Tensor:
    """Make a tensor that is what it says, but for what is changed."""
    given: dict[str, Any] = {
        "name": name,
        "datatype": DATATYPES[values.dtype],
        "shape": values.shape,
        "data": values.tobytes(),
    }
    return Tensor(**(given | changes))


def utterances(*samples: Float32, model: str = "speaker", **more: Any) -> InferenceRequest:
    """Ask for the embeddings of utterances of one length."""
    return InferenceRequest(
        model, more.pop("version", ""), (tensor("WAV", np.stack(samples)),), **more
    )


def windows(*given: Window) -> InferenceRequest:
    """Ask for the embeddings of windows of one size."""
    pcm = tensor("pcm", np.stack([one.pcm for one in given]))
    rows = tensor("rows", np.stack([one.rows for one in given]))
    return InferenceRequest("speaker_windows", "", (pcm, rows))


def embeddings(reply: InferenceReply) -> Float32:
    """Read what was inferred."""
    (output,) = reply.outputs
    assert output.datatype == "FP32"
    values: Float32 = np.frombuffer(output.data, np.float32).reshape(output.shape)
    return values


@asynccontextmanager
async def inferring(
    folder: Path,
    *,
    open_lanes: Callable[[Bundle], Lanes] = opened,
    maximum_batch: int = 8,
    **settings: Any,
) -> AsyncIterator[tuple[Inference, Administered]]:
    """Serve "small/1" in a folder of its own."""
    async with administered(folder, open_lanes=open_lanes) as one:
        inference = Inference(
            one.serving,
            one.administration,
            KserveSettings(maximum_batch, **settings),
            str(one.folder),
        )
        inference.well = True
        yield inference, one
