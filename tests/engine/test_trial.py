from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from speakerd_server.cards import Bundle
from speakerd_server.engine.backend import plain_buffers
from speakerd_server.engine.fake import FakeBackend
from speakerd_server.engine.onnxruntime_cpu import OnnxRuntimeCpu
from speakerd_server.engine.trial import LOWEST_COSINE, try_backend
from speakerd_server.errors import ModelUnusable
from speakerd_server.models.bundle import load_bundle, shipped_bundle
from speakerd_server.values import Float32, Int64

SHIPPED = load_bundle(shipped_bundle())
FAKE = dataclasses.replace(SHIPPED, card=dataclasses.replace(SHIPPED.card, dim=8))


class Changed:
    """A `FakeBackend` whose embeddings are changed."""

    def __init__(self, change: Callable[[Float32], Float32]) -> None:
        self._change, self._backend = change, FakeBackend(8)

    def buffers(self, windows: int, samples: int, frames: int) -> tuple[Float32, Int64]:
        return plain_buffers(windows, samples + 999, frames)

    def embed(self, pcm: Float32, rows: Int64) -> Float32:
        return self._change(self._backend.embed(pcm, rows))

    def close(self) -> None:
        return


def refused(change: Callable[[Float32], Float32], bundle: Bundle = FAKE) -> str:
    with pytest.raises(ModelUnusable) as error:
        try_backend(Changed(change), bundle, 198)
    assert error.value.path == bundle.onnx_path.parent
    return error.value.problem


def test_the_shipped_model_passes_and_agrees_with_itself() -> None:
    backend = OnnxRuntimeCpu(SHIPPED)
    try_backend(backend, SHIPPED, 198, backend, LOWEST_COSINE["float32"])


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_an_embedding_that_is_not_finite_is_refused(number: float) -> None:
    assert "not finite" in refused(lambda found: found * np.float32(number))


def test_one_bad_window_of_several_is_enough() -> None:
    def last_is_zero(found: Float32) -> Float32:
        found[-1] = 0
        return found

    assert "is zero" in refused(last_is_zero)


def test_another_dimension_than_the_cards_is_refused() -> None:
    assert "shape (3, 8), the card says (3, 192)" in refused(lambda found: found, SHIPPED)


def test_embeddings_far_from_the_processors_are_refused_with_the_cosine() -> None:
    turned = Changed(lambda found: found + np.float32(0.2) * np.roll(found, 1, axis=1))
    with pytest.raises(ModelUnusable, match=r"batch of 3 has cosine 0\.\d+ to that of the proc"):
        try_backend(turned, FAKE, 198, FakeBackend(8), LOWEST_COSINE["float16"])
    near = Changed(lambda found: found + np.float32(1e-3) * np.roll(found, 1, axis=1))
    try_backend(near, FAKE, 198, FakeBackend(8), LOWEST_COSINE["float16"])


def test_the_sounds_are_of_the_usual_length_and_of_another() -> None:
    backend = FakeBackend(8)
    try_backend(backend, FAKE, 98)
    assert backend.batches == [(3, 98), (1, 201)]


class Spoilt(FakeBackend):
    """Gives every usual batch of one size wrongly once another length was embedded."""

    def __init__(self, spoilt: int) -> None:
        super().__init__(8)
        self._spoilt = spoilt

    def embed(self, pcm: Float32, rows: Int64) -> Float32:
        embeddings = super().embed(pcm, rows)
        frames = {shape[1] for shape in self.batches}
        if len(frames) > 1 and len(pcm) == self._spoilt:
            embeddings[-1] = np.roll(embeddings[-1], 1)
        return embeddings


def test_what_other_work_spoils_is_found_in_the_batch_that_is_wrong() -> None:
    try_backend(Spoilt(4), FAKE, 198, FakeBackend(8), 0.999)
    with pytest.raises(ModelUnusable, match="batch of 4 has cosine"):
        try_backend(Spoilt(4), FAKE, 198, FakeBackend(8), 0.999, (1, 2, 4, 6))
    try_backend(Spoilt(5), FAKE, 198, FakeBackend(8), 0.999, (1, 2, 4, 6))
