from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from speakerd_server.errors import ModelDamaged, ModelUnusable, OutputUnusable
from speakerd_server.models.bundle import (
    ONNX_NAME,
    list_shipped,
    load_bundle,
    shipped_bundle,
    write_bundle,
)
from speakerd_server.models.card import CARD_NAME


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the shipped bundle to damage."""
    return Path(shutil.copytree(shipped_bundle(), tmp_path / "bundle"))


def edit_card(folder: Path, old: str, new: str) -> None:
    card = (folder / CARD_NAME).read_text(encoding="utf-8")
    assert old in card
    (folder / CARD_NAME).write_text(card.replace(old, new, 1), encoding="utf-8")


def test_the_shipped_bundle_is_whole_and_says_what_it_is() -> None:
    bundle = load_bundle(shipped_bundle())
    card = bundle.card
    assert str(card.identity) == "campplus/1 (3dspeaker-43544c32006a)"
    assert (card.sample_rate_hz, card.dim, card.samples_per_chunk) == (16000, 192, 32000)
    assert (card.min_frames, card.precision, card.licence) == (3, "float16", "Apache-2.0")
    assert "iic/speech_campplus_sv_zh_en_16k-common_advanced" in card.origin
    assert card.reject_below is not None
    assert card.accept_at is not None
    assert -1 < card.reject_below <= card.accept_at < 1
    assert bundle.onnx_path.stat().st_size < 15_500_000
    assert "Apache License" in (shipped_bundle() / "LICENSE").read_text(encoding="utf-8")


def test_the_models_in_the_package_are_listed() -> None:
    assert "campplus" in list_shipped()
    for name in list_shipped():
        assert shipped_bundle(name).is_dir()
    with pytest.raises(ModelUnusable, match="campplus"):
        shipped_bundle("unknown")


def test_a_damaged_model_file_is_refused_with_both_digests(folder: Path) -> None:
    content = bytearray((folder / ONNX_NAME).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / ONNX_NAME).write_bytes(content)
    with pytest.raises(ModelDamaged) as refusal:
        load_bundle(folder)
    assert refusal.value.wanted_sha256 == load_bundle(shipped_bundle()).card.sha256
    assert refusal.value.found_sha256 != refusal.value.wanted_sha256
    assert refusal.value.path == folder / ONNX_NAME


def test_a_file_that_cannot_be_put_in_its_place_leaves_nothing_beside_it(tmp_path: Path) -> None:
    card = load_bundle(shipped_bundle()).card
    (tmp_path / ONNX_NAME).mkdir()
    with pytest.raises(OutputUnusable, match="directory"):
        write_bundle(tmp_path, card, b"a network")
    assert [path.name for path in tmp_path.iterdir()] == [ONNX_NAME]


@pytest.mark.parametrize("name", [ONNX_NAME, CARD_NAME])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ModelUnusable, match=name):
        load_bundle(folder)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("dim = 192", "dim = 192\ncolour = 'red'", "does not know colour"),
        ("dim = 192\n", "", "lacks dim"),
        ("dim = 192", "dim = '192'", "dim must be a int"),
        ("dim = 192", "dim = true", "dim must be a int"),
        ("dim = 192", "dim = 0", "must be positive"),
        ("dim = 192", "dim = ", "no TOML"),
        ('family = "3dspeaker"\n', "", "lacks front_end.family"),
        ('scale = "cosine"', 'scale = "llr"', "cosine"),
        ("accept_at = ", "accept_at = 9", "reject_below <= accept_at"),
        ("accept_at = ", "accept_it = ", "does not know calibration.accept_it"),
        ('speech = "1 s"', 'spoken = "1 s"', "does not know calibration.measured.spoken"),
    ],
)
def test_a_card_is_read_strictly(folder: Path, old: str, new: str, problem: str) -> None:
    edit_card(folder, old, new)
    with pytest.raises(ModelUnusable, match=problem):
        load_bundle(folder)
