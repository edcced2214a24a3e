from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from speakerd_server.cards import Bundle
from speakerd_server.errors import GraphRefused
from speakerd_server.models.bundle import load_bundle, shipped_bundle
from speakerd_server.models.network import MOST_FEATURES, network_of
from speakerd_server.models.quantizable import with_outputs
from support.networks import WESPEAKER, saved, small_network, taken
from support.speech import VOICES, read

CPU = ["CPUExecutionProvider"]
Feeds = dict[str, NDArray[np.generic]]


def imported(folder: Path, mel_bins: int, *, mean_removed: bool) -> Bundle:
    path = saved(small_network(mel_bins=mel_bins), folder / "net.onnx")
    described = replace(WESPEAKER, family="described", mel_bins=mel_bins, mean_removed=mean_removed)
    return load_bundle(taken(path, described).folder)


def speech(frames: int) -> Feeds:
    """Give two windows of speech as the inputs of a bundle's graph."""
    voice, samples = read(VOICES / "slt-call.flac"), 160 * (frames - 1) + 400
    pcm = np.stack([voice[at : at + samples] for at in (16_000, 30_000)])
    return {"pcm": pcm, "rows": np.arange(frames)[None].repeat(2, 0)}


def check_same(bundle: Bundle, frames: int) -> None:
    """Compare the cut graph, over the features of the whole one, with the whole one."""
    content = network_of(bundle)
    cut = onnx.load_model_from_string(content)
    (features_name,) = [one.output[0] for one in cut.graph.node if "cut_used" in one.input]
    feeds = speech(frames)
    whole = with_outputs(onnx.load(bundle.onnx_path), ["embeddings", features_name])
    expected, features = whole.run(None, feeds)
    assert features.shape == (2, frames, bundle.card.front_end.mel_bins)
    session = ort.InferenceSession(content, providers=CPU)
    flat = features.reshape(2, -1)
    for pcm in (flat, np.pad(flat, ((0, 0), (0, 77)))):
        (found,) = session.run(["embeddings"], {"pcm": pcm, "rows": feeds["rows"]})
        cosines = (found * expected).sum(1)
        cosines /= np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
        assert cosines.min() >= 1 - 1e-6


@pytest.mark.parametrize("name", ["campplus", "campplus-int8"])
@pytest.mark.parametrize("frames", [3, 198, 250])
def test_a_shipped_network_gives_from_features_what_its_bundle_gives_from_audio(
    name: str, frames: int
) -> None:
    check_same(load_bundle(shipped_bundle(name)), frames)


@pytest.mark.parametrize("mean_removed", [True, False])
@pytest.mark.parametrize("mel_bins", [80, 40, 23])
def test_an_imported_network_does_so_too(mel_bins: int, mean_removed: bool, tmp_path: Path) -> None:
    check_same(imported(tmp_path, mel_bins, mean_removed=mean_removed), 50)


def test_the_front_end_is_gone_and_the_bytes_are_always_the_same() -> None:
    bundle = load_bundle(shipped_bundle())
    content = network_of(bundle)
    assert content == network_of(bundle)
    names = {one.name for one in onnx.load_model_from_string(content).graph.initializer}
    assert not [name for name in names if name.startswith("front_end")]


def test_what_cannot_be_cut_is_refused_with_the_reason(tmp_path: Path) -> None:
    bundle = load_bundle(shipped_bundle())
    described = replace(bundle.card.front_end, mel_bins=MOST_FEATURES + 1)
    wide = replace(bundle, card=replace(bundle.card, front_end=described))
    with pytest.raises(GraphRefused, match="161 features of a frame, more than 160"):
        network_of(wide)
    with pytest.raises(GraphRefused, match="cannot be read"):
        network_of(replace(bundle, onnx_path=tmp_path / "none.onnx"))
    (tmp_path / "text.onnx").write_text("no graph")
    with pytest.raises(GraphRefused, match="cannot be read"):
        network_of(replace(bundle, onnx_path=tmp_path / "text.onnx"))
    plain = saved(small_network(), tmp_path / "plain.onnx")
    with pytest.raises(GraphRefused, match="no place in it where frames are chosen"):
        network_of(replace(bundle, onnx_path=plain))
