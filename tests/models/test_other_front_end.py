from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from speakerd_server.errors import ModelUnusable
from speakerd_server.models.bundle import ONNX_NAME, load_bundle, shipped_bundle
from speakerd_server.models.embedder import SPECTRUM
from speakerd_server.models.front_end import FAMILIES, front_end
from speakerd_server.models.other_front_end import with_front_end
from support.networks import saved, small_network, taken


def spectrum_of(folder: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    model = onnx.load(folder / ONNX_NAME)
    (tensor,) = [tensor for tensor in model.graph.initializer if tensor.name == SPECTRUM]
    return np.asarray(onnx.numpy_helper.to_array(tensor), np.float32)


def test_a_copy_has_the_other_front_end_and_says_so(tmp_path: Path) -> None:
    folder = with_front_end(shipped_bundle(), "wespeaker", tmp_path / "copy")
    copy, shipped = load_bundle(folder).card, load_bundle(shipped_bundle()).card
    assert copy.identity.front_end == "wespeaker-61c2ee95130b"
    assert (copy.identity.name, copy.dim) == (shipped.identity.name, shipped.dim)
    assert copy.sha256 != shipped.sha256
    wanted = front_end(FAMILIES["wespeaker"]).spectrum
    np.testing.assert_array_equal(spectrum_of(folder)[:, 0, 0, :], wanted)


def test_there_and_back_again_gives_the_shipped_file(tmp_path: Path) -> None:
    there = with_front_end(shipped_bundle(), "wespeaker", tmp_path / "there")
    back = with_front_end(there, "3dspeaker", tmp_path / "back")
    # Embeddings of another front end are others: a cohort is not carried over.
    assert load_bundle(back).card == replace(load_bundle(shipped_bundle()).card, cohort=None)


def test_a_mel_bank_that_is_not_the_family_s_is_left_alone(tmp_path: Path) -> None:
    described = replace(FAMILIES["wespeaker"], family="described", high_hz=7600.0)
    imported = taken(saved(small_network(), tmp_path / "net.onnx"), described)
    with pytest.raises(ModelUnusable, match="mel bank or mean removal is not that of 3dspeaker"):
        with_front_end(imported.folder, "3dspeaker", tmp_path / "copy")


def test_a_graph_without_a_front_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelUnusable):
        with_front_end(tmp_path, "wespeaker", tmp_path / "copy")
