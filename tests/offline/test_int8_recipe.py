"""The recipe of the shipped 8-bit model."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper
from speakerd_server.models.bundle import ONNX_NAME, load_bundle, shipped_bundle
from speakerd_server.models.card import CARD_NAME, card_text
from speakerd_server.offline import int8_recipe
from support.shared import shared_path


def test_the_shipped_card_is_the_recipe_s() -> None:
    folder = shipped_bundle("campplus-int8")
    digest = hashlib.sha256((folder / ONNX_NAME).read_bytes()).hexdigest()
    source = load_bundle(shipped_bundle("campplus"))
    stated = replace(int8_recipe.card(source.card), sha256=digest)
    assert card_text(stated) == (folder / CARD_NAME).read_text(encoding="utf-8")
    assert [row.speech for row in stated.calibration.measured] == ["1 s", "2 s", "4 s", "whole"]


@pytest.mark.parametrize("name", ["LICENSE", "cohort.NOTICE"])
def test_the_licences_go_with_the_weights_and_the_cohort(name: str) -> None:
    texts = {(shipped_bundle(model) / name).read_bytes() for model in ("campplus", "campplus-int8")}
    assert len(texts) == 1


@pytest.mark.accuracy
@pytest.mark.timeout(600)
def test_the_recipe_makes_the_shipped_weights_and_nearly_its_ranges(tmp_path: Path) -> None:
    made = int8_recipe.make_bundle(shared_path("data/librispeech/cohort"), tmp_path)
    found, wanted = (
        {tensor.name: tensor for tensor in onnx.load(path).graph.initializer}
        for path in (made.onnx_path, shipped_bundle("campplus-int8") / ONNX_NAME)
    )
    shipped = {path.name for path in shipped_bundle("campplus-int8").iterdir()}
    assert {path.name for path in made.onnx_path.parent.iterdir()} == shipped
    assert list(found) == list(wanted)
    for name, tensor in wanted.items():
        one, other = (numpy_helper.to_array(each) for each in (found[name], tensor))
        if tensor.data_type == TensorProto.INT8:
            np.testing.assert_array_equal(one, other, name)
        elif tensor.data_type == TensorProto.FLOAT:
            # Ranges and biases are measured, and processors differ in the last bits.
            np.testing.assert_allclose(one, other, rtol=2e-3, err_msg=name)


def test_a_folder_without_audio_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = int8_recipe.main(["--audio", str(tmp_path), "--output", str(tmp_path / "out")])
    assert code == 1
    assert "no audio file" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
