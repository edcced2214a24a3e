from __future__ import annotations

import tempfile
import tomllib
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st
from speakerd_server.cards import (
    Calibration,
    Card,
    ErrorRates,
    FrontEndDescription,
    LlrCalibration,
)
from speakerd_server.errors import ModelUnusable, OptionInvalid
from speakerd_server.models.bundle import shipped_bundle
from speakerd_server.models.card import CARD_NAME, LLR_KEYS, card_text, read_card, read_llr
from speakerd_server.models.front_end import FAMILIES, WINDOWS, fingerprint
from speakerd_server.values import ModelIdentity, ScoreScale

LLR = LlrCalibration(
    "telephone", ScoreScale.COSINE, -6.5, 21.25, 0.5, 0.0, 40, 0.9, 0.11, "trials of ours"
)
NOT_CALIBRATED = Calibration(None, None, "not calibrated")
DESCRIBED = FrontEndDescription("described", 32768.0, "hanning", 40, 60.0, 7600.0, 0.0, False)


def card(
    front_end: FrontEndDescription = DESCRIBED,
    calibration: Calibration = NOT_CALIBRATED,
) -> Card:
    return Card(
        identity=ModelIdentity("mine", "2", fingerprint(front_end)),
        sample_rate_hz=16000,
        dim=256,
        samples_per_chunk=32000,
        min_frames=2,
        precision="float32",
        licence="LicenseRef-unknown",
        origin="made for tests",
        sha256="0" * 64,
        front_end=front_end,
        calibration=calibration,
    )


def written_and_read(one: Card) -> Card:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / CARD_NAME).write_bytes(card_text(one).encode())
        return read_card(Path(folder))


def finite(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
THRESHOLDS = st.one_of(
    st.just((None, None)),
    st.lists(finite(-1, 1), min_size=2, max_size=2).map(lambda two: (max(two), min(two))),
)
MEASURED = st.builds(
    ErrorRates,
    TEXT,
    st.integers(0, 10**9),
    st.integers(0, 10**9),
    *(3 * [finite(0, 100)]),
)
LLRS = st.builds(
    LlrCalibration,
    TEXT,
    st.sampled_from([ScoreScale.COSINE, ScoreScale.ASNORM]),
    finite(-1e6, 1e6),
    finite(1e-6, 1e6),
    finite(-1e3, 1e3),
    finite(-1e3, 1e3),
    st.integers(2, 10**6),
    finite(0, 1e3),
    finite(0, 1e3),
    TEXT,
)
CALIBRATIONS = st.builds(
    lambda both, trials, measured, llr: Calibration(
        both[0], both[1], trials, tuple(measured), tuple(llr)
    ),
    THRESHOLDS,
    TEXT,
    st.lists(MEASURED, max_size=3),
    st.lists(LLRS, max_size=3, unique_by=lambda llr: llr.profile),
)
FRONT_ENDS = st.one_of(
    st.sampled_from(list(FAMILIES.values())),
    st.builds(
        FrontEndDescription,
        st.just("described"),
        finite(1e-3, 1e6),
        st.sampled_from(WINDOWS),
        st.integers(1, 128),
        finite(0, 3000),
        finite(4000, 8000),
        finite(0, 1),
        st.booleans(),
    ),
)


@given(FRONT_ENDS, CALIBRATIONS, TEXT, TEXT, TEXT)
def test_what_is_written_is_what_is_read(
    front_end: FrontEndDescription, calibration: Calibration, name: str, licence: str, origin: str
) -> None:
    one = replace(card(front_end, calibration), licence=licence, origin=origin)
    one = replace(one, identity=replace(one.identity, name=name))
    assert written_and_read(one) == one


def test_whole_numbers_in_the_place_of_others_are_written_as_such() -> None:
    whole = replace(DESCRIBED, sample_scale=1, low_hz=20, high_hz=8000, pre_emphasis=1)
    rates = ErrorRates("2 s", 10, 20, 0, 0, 1)
    llr = replace(LLR, offset=-3, slope=2, shorter=0, longer=0, cllr_before=1, cllr_after=0)
    one = card(whole, Calibration(1, -1, "few", (rates,), (llr,)))
    assert written_and_read(one) == one


def test_a_family_s_numbers_are_not_repeated_and_a_described_one_s_are_all_there() -> None:
    table = tomllib.loads(card_text(card(FAMILIES["wespeaker"])))
    assert set(table["front_end"]) == {"family", "fingerprint"}
    table = tomllib.loads(card_text(card()))
    names = {field.name for field in fields(FrontEndDescription)}
    assert set(table["front_end"]) == names | {"fingerprint"}


def test_thresholds_that_are_not_there_are_none() -> None:
    calibration = tomllib.loads(card_text(card()))["calibration"]
    assert calibration == {"scale": "cosine", "trials": "not calibrated"}
    read = written_and_read(card())
    assert (read.accept_at, read.reject_below) == (None, None)


def full_table() -> dict[str, Any]:
    rates = ErrorRates("2 s", 10, 20, 5.0, 1.0, 9.0)
    whole = card(calibration=Calibration(0.5, 0.4, "few", (rates,), (LLR,)))
    return tomllib.loads(card_text(whole))


def tables(table: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Give every table of a card by the name that errors give it."""
    calibration = table["calibration"]
    return {
        "": table,
        "front_end.": table["front_end"],
        "calibration.": calibration,
        "calibration.measured.": calibration["measured"][0],
        "calibration.llr.": calibration["llr"][0],
    }


KEYS = [(where, key) for where, inner in tables(full_table()).items() for key in inner]
MAY_BE_ABSENT = {"measured", "llr"}


def refusal(tmp_path: Path, table: dict[str, Any]) -> str:
    (tmp_path / CARD_NAME).write_text(tomli_w.dumps(table), encoding="utf-8")
    with pytest.raises(ModelUnusable) as refused:
        read_card(tmp_path)
    return refused.value.problem


@pytest.mark.parametrize(("where", "key"), KEYS)
def test_every_key_is_needed(tmp_path: Path, where: str, key: str) -> None:
    table = full_table()
    del tables(table)[where][key]
    if key in MAY_BE_ABSENT:
        (tmp_path / CARD_NAME).write_text(tomli_w.dumps(table), encoding="utf-8")
        assert getattr(read_card(tmp_path).calibration, key) == ()
    elif key in ("accept_at", "reject_below"):
        assert "or neither" in refusal(tmp_path, table)
    else:
        assert f"lacks {where}{key}" in refusal(tmp_path, table)


@pytest.mark.parametrize(("where", "key"), KEYS)
def test_every_key_has_one_type(tmp_path: Path, where: str, key: str) -> None:
    table = full_table()
    inner = tables(table)[where]
    inner[key] = [7] if not isinstance(inner[key], list) else "text"
    assert f"{where}{key} must be a " in refusal(tmp_path, table)


@pytest.mark.parametrize("where", tables(full_table()))
def test_every_table_refuses_an_unknown_key_by_its_name(tmp_path: Path, where: str) -> None:
    table = full_table()
    tables(table)[where]["colour"] = "red"
    assert f"does not know {where}colour" in refusal(tmp_path, table)


@pytest.mark.parametrize(
    ("where", "key"),
    [(where, key) for where, key in KEYS if type(tables(full_table())[where][key]) is float],
)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_no_number_may_be_nan_or_infinite(
    tmp_path: Path, where: str, key: str, value: float
) -> None:
    table = full_table()
    tables(table)[where][key] = value
    assert f"{where}{key} must be finite" in refusal(tmp_path, table)


def change(where: str, key: str, value: object) -> Callable[[dict[str, Any]], None]:
    def apply(table: dict[str, Any]) -> None:
        tables(table)[where][key] = value

    return apply


@pytest.mark.parametrize(
    ("edit", "problem"),
    [
        (change("", "dim", 0), "must be positive"),
        (change("", "min_frames", -1), "must be positive"),
        (change("", "name", ""), "must not be empty"),
        (change("", "version", ""), "must not be empty"),
        (change("front_end.", "family", "wespeakr"), "'wespeakr' is unknown; there is wespeaker"),
        (change("front_end.", "family", "wespeaker"), "does not know front_end.high_hz"),
        (change("front_end.", "window", "hann"), "front_end.window: 'hann' is unknown"),
        (change("front_end.", "mel_bins", 0), "front_end.mel_bins: 0"),
        (change("front_end.", "high_hz", 9000.0), "front_end.high_hz: 9000"),
        (change("front_end.", "mel_bins", 41), "fingerprint is not that of described"),
        (change("front_end.", "fingerprint", "described-0"), "fingerprint is not that of"),
        (change("calibration.", "scale", "llr"), "in cosine"),
        (change("calibration.", "accept_at", 0.39), "reject_below <= accept_at"),
        (change("calibration.", "accept_at", 1.5), "reject_below <= accept_at"),
        (change("calibration.", "measured", [1]), "calibration.measured must be a table"),
        (change("calibration.", "llr", ["x"]), "calibration.llr must be a table"),
        (change("calibration.measured.", "equal_error_percent", 101.0), "between 0 and 100"),
        (change("calibration.measured.", "same_speaker_trials", -1), "below 0"),
        (change("calibration.llr.", "scale", "similarity"), "must be cosine or asnorm"),
        (change("calibration.llr.", "slope", 0.0), "slope must be positive"),
    ],
)
def test_impossible_values_are_refused(
    tmp_path: Path, edit: Callable[[dict[str, Any]], None], problem: str
) -> None:
    table = full_table()
    edit(table)
    assert problem in refusal(tmp_path, table)


def test_a_profile_stands_once(tmp_path: Path) -> None:
    table = full_table()
    table["calibration"]["llr"] *= 2
    assert "has a profile twice" in refusal(tmp_path, table)


@pytest.mark.parametrize("content", [b"name = ", b"\xff\xfe", b"a = " + b"[" * 5000])
def test_what_is_no_toml_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / CARD_NAME).write_bytes(content)
    with pytest.raises(ModelUnusable, match="is no TOML"):
        read_card(tmp_path)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_card_or_refused(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / CARD_NAME).write_bytes(content)
        with pytest.raises(ModelUnusable):
            read_card(Path(folder))


@given(st.integers(0, 10**6), st.integers(1, 255))
def test_a_flipped_byte_of_a_card_gives_a_card_or_a_refusal(place: int, flip: int) -> None:
    content = bytearray((shipped_bundle() / CARD_NAME).read_bytes())
    content[place % len(content)] ^= flip
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / CARD_NAME).write_bytes(content)
        try:
            assert isinstance(read_card(Path(folder)), Card)
        except ModelUnusable:
            return


def test_a_table_of_one_calibration_is_read_alone() -> None:
    table = tomllib.loads(card_text(card(calibration=Calibration(None, None, "t", (), (LLR,)))))
    (row,) = table["calibration"]["llr"]
    assert set(row) == set(LLR_KEYS)
    assert read_llr(Path("profile"), row) == LLR


def test_an_impossible_front_end_has_no_card() -> None:
    with pytest.raises(OptionInvalid, match="mel_bins"):
        card(replace(DESCRIBED, mel_bins=0))
