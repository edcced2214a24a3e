from __future__ import annotations

import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from speakerd_server.cards import LlrCalibration
from speakerd_server.errors import ModelUnusable, OutputUnusable, ProfileUnusable
from speakerd_server.models.bundle import load_bundle, shipped_bundle
from speakerd_server.models.card import CARD_NAME, read_card
from speakerd_server.models.profile import add_to_card, read_profile, with_profiles, write_profile
from speakerd_server.values import ModelIdentity, ScoreScale

IDENTITY = ModelIdentity("campplus", "1", "3dspeaker-0123456789ab")
LLR = LlrCalibration(
    profile="telephone",
    scale=ScoreScale.COSINE,
    offset=-7.25,
    slope=25.125,
    shorter=-3.0,
    longer=0.5,
    speakers=6,
    cllr_before=0.87,
    cllr_after=0.15,
    trials='calls of "May"',
    shortest_s=0.5,
    longest_s=60.0,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_profile(tmp_path / "telephone.toml", IDENTITY, LLR)
    return tmp_path / "telephone.toml"


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_a_profile_is_read_as_it_was_written(path: Path) -> None:
    assert read_profile(path, IDENTITY) == LLR
    assert read_profile(path, IDENTITY, "telephone") == LLR
    assert read_profile(path, None) == LLR
    plain = replace(LLR, shorter=0.0, longer=0.0, shortest_s=0.0, longest_s=math.inf)
    write_profile(path, IDENTITY, plain)
    assert "longest_s" not in path.read_text()
    assert read_profile(path, IDENTITY) == plain
    assert [one.name for one in path.parent.iterdir()] == [path.name]


@given(
    offset=st.floats(-1e3, 1e3),
    slope=st.floats(1e-6, 1e6),
    shorter=st.floats(-50, 50),
    trials=st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_calibration_survives_its_file(
    tmp_path: Path, offset: float, slope: float, shorter: float, trials: str
) -> None:
    llr = replace(LLR, offset=offset, slope=slope, shorter=shorter, trials=trials)
    write_profile(tmp_path / "p.toml", IDENTITY, llr)
    assert read_profile(tmp_path / "p.toml", IDENTITY) == llr


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("slope =", "slop =", "llr.slop is no key of a profile and llr.slope is missing"),
        ("speakers = 6\n", "", "llr.speakers is missing"),
        ("shorter = -3.0", "shorter = -3", "llr.shorter must be a float"),
        ("offset = -7.25", "offset = nan", "llr.offset must be a finite number"),
        ("slope = 25.125", "slope = inf", "llr.slope must be a finite number"),
        ("slope = 25.125", "slope = -1.0", "llr.slope must be positive"),
        ('scale = "cosine"', 'scale = "similarity"', "llr.scale must be cosine or asnorm"),
        ("longest_s = 60.0", "longest_s = 0.25", "llr needs 0 <= shortest_s < longest_s"),
        ("longest_s = 60.0", "longest_s = inf", "llr.longest_s must be a finite number"),
        ("speakerd-calibration-1", "speakerd-calibration-9", "its format is"),
        ("[model]", "[modell]", "modell is no key of a profile and model is missing"),
        ('version = "1"', "version = 1", "model.version must be a str"),
        ("[llr]", "[llr", "it is no TOML"),
    ],
)
def test_a_damaged_profile_is_refused_by_what_is_wrong(
    path: Path, old: str, new: str, told: str
) -> None:
    edit(path, old, new)
    with pytest.raises(ProfileUnusable, match=r"telephone\.toml") as refusal:
        read_profile(path, IDENTITY)
    assert told in refusal.value.problem


def test_a_profile_of_another_model_is_refused_with_both_names(path: Path) -> None:
    for other in (
        replace(IDENTITY, name="resnet34"),
        replace(IDENTITY, version="2"),
        replace(IDENTITY, front_end="wespeaker-0123456789ab"),
    ):
        with pytest.raises(ProfileUnusable, match="one of another model") as refusal:
            read_profile(path, other)
        assert str(IDENTITY) in refusal.value.problem
        assert str(other) in refusal.value.problem


def test_a_profile_of_another_channel_is_refused(path: Path) -> None:
    with pytest.raises(ProfileUnusable, match="'telephone', not 'default'"):
        read_profile(path, IDENTITY, "default")


def test_what_is_no_file_of_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProfileUnusable, match="No such file"):
        read_profile(tmp_path / "none.toml", IDENTITY)
    with pytest.raises(ProfileUnusable, match="Is a directory"):
        read_profile(tmp_path, IDENTITY)
    (tmp_path / "huge.toml").write_bytes(b"#" * (1 << 21))
    with pytest.raises(ProfileUnusable, match="longer than"):
        read_profile(tmp_path / "huge.toml", IDENTITY)
    (tmp_path / "deep.toml").write_bytes(b"a = " + b"[" * 100_000)
    with pytest.raises(ProfileUnusable, match="no TOML"):
        read_profile(tmp_path / "deep.toml", IDENTITY)


@given(content=st.binary(max_size=200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_bytes_are_read_as_a_profile_or_end_in_another_error(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "any.toml").write_bytes(content)
    with pytest.raises(ProfileUnusable):
        read_profile(tmp_path / "any.toml", IDENTITY)


def test_a_profile_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OutputUnusable, match="No such file"):
        write_profile(tmp_path / "none" / "p.toml", IDENTITY, LLR)
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputUnusable, match="Is a directory"):
        write_profile(tmp_path / "folder", IDENTITY, LLR)
    assert [one.name for one in tmp_path.iterdir()] == ["folder"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the shipped bundle."""
    return Path(shutil.copytree(shipped_bundle(), tmp_path / "bundle"))


def test_a_card_gains_a_calibration_and_keeps_all_else(folder: Path) -> None:
    before = read_card(folder)
    add_to_card(folder, LLR)
    after = load_bundle(folder).card
    assert after.calibration.llr[-1] == LLR
    kept = tuple(one for one in after.calibration.llr if one.profile != LLR.profile)
    assert replace(after, calibration=replace(after.calibration, llr=kept)) == before


def test_a_calibration_takes_the_place_of_one_of_its_name(folder: Path) -> None:
    add_to_card(folder, LLR)
    add_to_card(folder, replace(LLR, profile="studio"))
    add_to_card(folder, replace(LLR, slope=30.0))
    found = {one.profile: one.slope for one in read_card(folder).calibration.llr}
    assert found["telephone"] == 30.0
    assert found["studio"] == LLR.slope
    assert not [one for one in folder.iterdir() if one.name.startswith(".")]


def test_a_card_that_is_damaged_is_left_as_it_is(folder: Path) -> None:
    edit(folder / CARD_NAME, "version =", "versoin =")
    content = (folder / CARD_NAME).read_bytes()
    with pytest.raises(ModelUnusable, match="versoin"):
        add_to_card(folder, LLR)
    assert (folder / CARD_NAME).read_bytes() == content


def test_a_card_that_cannot_be_written_says_to_write_a_profile(folder: Path) -> None:
    # A folder in the way of the new file stands for a package that is installed read-only; the
    # mode of a folder would not stop root.
    (folder / f".{CARD_NAME}.new").mkdir()
    content = (folder / CARD_NAME).read_bytes()
    with pytest.raises(OutputUnusable, match="--profile-output"):
        add_to_card(folder, LLR)
    assert (folder / CARD_NAME).read_bytes() == content


def test_profiles_of_the_settings_take_the_place_of_the_cards(path: Path, tmp_path: Path) -> None:
    bundle = load_bundle(shipped_bundle())
    mine = tmp_path / "mine.toml"
    ours = replace(LLR, profile="wide-narrow")
    write_profile(mine, bundle.card.identity, ours)
    other = load_bundle(shipped_bundle("campplus-int8"))
    changed, same = with_profiles([bundle, other], [mine])
    assert changed.card.calibration.llr_for("wide-narrow") == ours
    assert changed.card.calibration.llr_for("wide-wide") == bundle.card.calibration.llr_for(
        "wide-wide"
    )
    assert changed.cohort is bundle.cohort
    assert same == other
    assert with_profiles([bundle], []) == [bundle]


def test_a_profile_of_a_model_that_is_not_there_is_refused(path: Path, tmp_path: Path) -> None:
    bundle = load_bundle(shipped_bundle())
    with pytest.raises(ProfileUnusable, match=r"it is one of another model: .*, not campplus/1"):
        with_profiles([bundle], [path])
    with pytest.raises(ProfileUnusable, match="cannot be read"):
        with_profiles([bundle], [tmp_path / "none.toml"])


def test_two_profiles_of_one_name_and_one_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    bundle = load_bundle(shipped_bundle())
    for name in ("one", "two"):
        write_profile(tmp_path / name, bundle.card.identity, LLR)
    with pytest.raises(ProfileUnusable, match="one is the profile telephone of the model too"):
        with_profiles([bundle], [tmp_path / "one", tmp_path / "two"])
    of_asnorm = replace(LLR, scale=ScoreScale.ASNORM)
    write_profile(tmp_path / "three", bundle.card.identity, of_asnorm)
    assert with_profiles([bundle], [tmp_path / "three"])
    plain = replace(bundle, card=replace(bundle.card, cohort=None), cohort=None)
    with pytest.raises(ProfileUnusable, match="the model has no cohort"):
        with_profiles([plain], [tmp_path / "three"])
