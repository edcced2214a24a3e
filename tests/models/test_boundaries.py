from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st
from speakerd_server.cards import SequentialBoundaries
from speakerd_server.errors import ModelUnusable, ProfileUnusable
from speakerd_server.models.boundaries import boundaries_table, read_boundaries_table
from speakerd_server.models.bundle import list_shipped, load_bundle, shipped_bundle
from speakerd_server.models.card import CARD_NAME, card_text, read_card
from speakerd_server.models.choice import find_bundle
from speakerd_server.models.profile import (
    add_boundaries_to_card,
    read_boundaries,
    write_boundaries,
)
from speakerd_server.sequential import PROFILES
from speakerd_server.values import ModelIdentity, ScoreScale
from support.boundaries import BOUNDARIES

IDENTITY = ModelIdentity("campplus", "1", "3dspeaker-0123456789ab")
OTHER = replace(BOUNDARIES, target_far=0.05)


@st.composite
def some(draw: st.DrawFn) -> SequentialBoundaries:
    pairs = draw(st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1)), min_size=1, max_size=30))
    rate = st.floats(0.0001, 0.5)
    count = st.integers(1, 10**6)
    return SequentialBoundaries(
        draw(st.sampled_from(PROFILES)),
        ScoreScale.COSINE,
        draw(rate),
        draw(rate),
        draw(count),
        draw(st.booleans()),
        tuple(max(pair) for pair in pairs),
        tuple(min(pair) for pair in pairs),
        draw(count),
        draw(count),
        draw(st.text(st.characters(exclude_categories=["Cs"]), max_size=20)),
    )


@given(some())
def test_a_file_gives_boundaries_back_as_they_were_written(one: SequentialBoundaries) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "b.toml"
        write_boundaries(path, IDENTITY, one)
        assert read_boundaries(path, IDENTITY) == (one,)
    assert read_boundaries_table(Path("card"), boundaries_table(one)) == one


def test_what_is_learnt_later_joins_the_file_or_takes_its_elder_s_place(tmp_path: Path) -> None:
    path = tmp_path / "b.toml"
    for one in (OTHER, BOUNDARIES, replace(BOUNDARIES, trials="anew")):
        write_boundaries(path, IDENTITY, one)
    assert [one.trials for one in read_boundaries(path, IDENTITY)] == ["anew", "made for tests"]


def test_a_file_of_another_model_or_kind_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "b.toml"
    write_boundaries(path, IDENTITY, BOUNDARIES)
    before = path.read_bytes()
    other = replace(IDENTITY, version="2")
    for identity in (other, replace(IDENTITY, front_end="none")):
        with pytest.raises(ProfileUnusable, match="another model"):
            write_boundaries(path, identity, OTHER)
    assert path.read_bytes() == before
    path.write_text("mine")
    with pytest.raises(ProfileUnusable, match="no TOML"):
        write_boundaries(path, IDENTITY, OTHER)
    path.write_bytes(before.replace(b"speakerd-boundaries-1", b"speakerd-boundaries-9"))
    with pytest.raises(ProfileUnusable, match="speakerd-boundaries-9"):
        read_boundaries(path, IDENTITY)


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"profile": "wide"}, "profile must be one of default, wide-wide"),
        ({"scale": "llr"}, "scale must be cosine"),
        ({"target_far": 0.0}, "target_far and target_frr"),
        ({"target_frr": 0.6}, "target_far and target_frr"),
        ({"target_far": 1}, "target_far must be a float"),
        ({"accept": []}, "one number a second"),
        ({"accept": [0.9, 0.8, 0.7]}, "one number a second"),
        ({"reject": [0.1, 0.2, 0.3, 0.61]}, "nowhere be above"),
        ({"reject": [0.1, 0.2, 0.3, float("nan")]}, "finite floats"),
        ({"reject": [0.1, 0.2, 0.3, "0.4"]}, "finite floats"),
        ({"accept": [1, 1, 1, 1]}, "finite floats"),
        ({"samples_per_chunk": 0}, "must be positive"),
        ({"genuine_speakers": -3}, "must be positive"),
        ({"speech_gate": "on"}, "speech_gate must be a bool"),
        ({"more": 1}, "does not know"),
    ],
)
def test_a_table_with_one_wrong_thing_in_it_is_refused_by_name(
    tmp_path: Path, wrong: dict[str, Any], problem: str
) -> None:
    table = boundaries_table(BOUNDARIES) | wrong
    with pytest.raises(ModelUnusable, match=problem):
        read_boundaries_table(tmp_path, table)
    model = {"name": "campplus", "version": "1", "front_end": IDENTITY.front_end}
    whole = {"format": "speakerd-boundaries-1", "model": model, "sequential": [table]}
    (tmp_path / "b.toml").write_text(tomli_w.dumps(whole))
    with pytest.raises(ProfileUnusable, match=problem):
        read_boundaries(tmp_path / "b.toml", IDENTITY)


def test_a_card_takes_boundaries_in_and_keeps_all_else(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(shipped_bundle(), folder)
    before = read_card(folder)
    mine = replace(BOUNDARIES, target_far=0.25)
    add_boundaries_to_card(folder, mine)
    add_boundaries_to_card(folder, replace(mine, trials="anew"))
    after = read_card(folder)
    assert [one.trials for one in after.calibration.sequential if one.target_far == 0.25] == [
        "anew"
    ]
    kept = tuple(one for one in after.calibration.sequential if one.target_far != 0.25)
    assert replace(after, calibration=replace(after.calibration, sequential=kept)) == before
    assert load_bundle(folder).card == after


def test_a_card_with_the_same_boundaries_twice_is_refused(tmp_path: Path) -> None:
    card = read_card(shipped_bundle())
    twice = replace(card.calibration, sequential=(BOUNDARIES, BOUNDARIES))
    (tmp_path / CARD_NAME).write_text(card_text(replace(card, calibration=twice)))
    with pytest.raises(ModelUnusable, match="profile twice for the same rates"):
        read_card(tmp_path)


@pytest.mark.parametrize("name", list_shipped())
def test_the_shipped_models_have_boundaries_for_every_pair_of_bands(name: str) -> None:
    card = read_card(find_bundle(name))
    known = {(one.target_far, one.target_frr, one.profile) for one in card.calibration.sequential}
    assert known == {
        (far, 0.05, profile) for far in (0.01, 0.05) for profile in PROFILES if profile != "default"
    }
    for one in card.calibration.sequential:
        assert (one.maximum_s, one.samples_per_chunk, one.speech_gate) == (20, 32000, True)
        assert 3 / one.impostor_pairs <= one.target_far
        for part in ("LibriSpeech test-other", "train-clean-100", "CC BY 4.0", "openslr.org/12"):
            assert part in one.trials
