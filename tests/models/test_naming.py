from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from speakerd_server.errors import OptionInvalid, OutputUnusable
from speakerd_server.models.naming import name_from_file, new_bundle_folder


@pytest.mark.parametrize("name", ["", "..", "a/b", "a\\b", ".hidden", "ä", "x" * 65, "a\n"])
def test_names_that_are_no_folder_s_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(OptionInvalid, match="--name"):
        new_bundle_folder(tmp_path, name, "1", force=False)
    with pytest.raises(OptionInvalid, match="--version"):
        new_bundle_folder(tmp_path, "mine", name, force=False)


def test_the_name_of_a_shipped_model_is_taken(tmp_path: Path) -> None:
    with pytest.raises(OptionInvalid, match="campplus is the name of a shipped model"):
        new_bundle_folder(tmp_path, "campplus", "7", force=True)


def test_an_empty_folder_is_free_and_a_file_is_none(tmp_path: Path) -> None:
    (tmp_path / "mine" / "1").mkdir(parents=True)
    assert new_bundle_folder(tmp_path, "mine", "1", force=False) == tmp_path / "mine" / "1"
    (tmp_path / "mine" / "1" / "card.toml").touch()
    with pytest.raises(OutputUnusable, match="--force"):
        new_bundle_folder(tmp_path, "mine", "1", force=False)
    (tmp_path / "mine" / "2").touch()
    with pytest.raises(OutputUnusable, match="Not a directory"):
        new_bundle_folder(tmp_path, "mine", "2", force=False)


@given(st.text(max_size=80))
def test_any_file_s_name_makes_a_name(stem: str) -> None:
    name = name_from_file(Path(stem.replace("/", "").replace("\0", "") + ".onnx"))
    assert new_bundle_folder(Path("out"), f"x{name}"[:64], "1", force=True).name == "1"
    assert name[0].isalnum()
