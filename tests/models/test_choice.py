from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from speakerd_server.errors import ModelUnusable
from speakerd_server.models.bundle import list_shipped, load_bundle, shipped_bundle
from speakerd_server.models.card import CARD_NAME
from speakerd_server.models.choice import find_bundle, find_bundles, newest


def lay_versions(root: Path, name: str, *versions: str) -> Path:
    """Lay bundles that have nothing but a card."""
    for version in versions:
        (root / name / version).mkdir(parents=True)
        shutil.copy(shipped_bundle() / CARD_NAME, root / name / version)
    return root / name


@pytest.mark.parametrize("name", list_shipped())
def test_every_shipped_model_is_found_by_its_name_and_by_its_version(name: str) -> None:
    folder = find_bundle(name)
    identity = load_bundle(folder).card.identity
    assert identity.name == name
    assert find_bundle(f"{name}/{identity.version}") == folder


def test_a_bundle_s_folder_is_found_by_any_path_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = lay_versions(tmp_path, "mine", "1") / "1"
    assert find_bundle(str(folder)) == folder
    assert find_bundle(f"{folder}/") == folder
    monkeypatch.chdir(folder)
    assert find_bundle(".").samefile(folder)
    assert find_bundle("../1").samefile(folder)
    monkeypatch.chdir(tmp_path)
    assert find_bundle("mine/1").samefile(folder)
    assert find_bundle("mine").samefile(folder)


def test_the_newest_version_is_the_last_in_natural_order(tmp_path: Path) -> None:
    model = lay_versions(tmp_path, "mine", "9", "10", "2.11", "2.9")
    assert find_bundle(str(model)).name == "10"
    versions = [path.name for path in find_bundles(tmp_path)]
    assert versions == ["2.9", "2.11", "9", "10"]


@given(st.sets(st.from_regex(r"[0-9a-z.-]{1,6}", fullmatch=True), min_size=1))
def test_any_names_of_versions_have_an_order(names: set[str]) -> None:
    paths = [Path(name) for name in names]
    assert newest(paths) == newest(paths[::-1])


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_versions_that_are_numbers_are_ordered_as_numbers(one: int, other: int) -> None:
    assert newest([Path(str(one)), Path(str(other))]).name == str(max(one, other))


@pytest.mark.parametrize("name", ["campluss", "camplus", "campplus-1"])
def test_a_misspelt_name_is_told_what_was_perhaps_meant(name: str) -> None:
    with pytest.raises(ModelUnusable, match=r"did you mean campplus.*shipped are .*campplus"):
        find_bundle(name)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "its name is empty"),
        ("resnet", "neither a folder nor a shipped model; shipped are campplus"),
        ("campplus/999", "there is no such folder; did you mean campplus"),
        ("./absent", "there is no such folder"),
        ("models\\absent", "there is no such folder"),
        ("a\0b", "neither a folder"),
        ("x" * 5000, "cannot be read"),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(name: str, problem: str) -> None:
    with pytest.raises(ModelUnusable, match=problem):
        find_bundle(name)


def test_a_folder_of_several_models_names_them(tmp_path: Path) -> None:
    lay_versions(tmp_path, "one", "1")
    lay_versions(tmp_path, "two", "1")
    with pytest.raises(ModelUnusable, match=r"several bundles, choose one: .*one/1, .*two/1"):
        find_bundle(str(tmp_path))


def test_a_folder_without_any_card_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelUnusable, match=r"has a card\.toml"):
        find_bundle(str(tmp_path))


def test_a_file_is_no_folder_of_models(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelUnusable, match="no such folder"):
        find_bundle(str(tmp_path / "file"))
    with pytest.raises(ModelUnusable, match="cannot be read"):
        find_bundles(tmp_path / "file")
