from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from speakerd_server.cards import Calibration, LlrCalibration
from speakerd_server.models.bundle import load_bundle, shipped_bundle, write_bundle
from speakerd_server.models.profile import write_profile
from speakerd_server.values import ScoreScale
from support.commands import speakerd
from support.shared import shared_path
from support.speech import RATE_HZ

pytestmark = pytest.mark.timeout(60)

LLR = LlrCalibration("telephone", ScoreScale.COSINE, -3.0, 10.0, 0.0, 0.0, 40, 0.9, 0.1, "made up")


def utterance(utterance_id: str) -> Path:
    speaker = utterance_id.split("-")[0]
    return shared_path(f"data/librispeech/eval/{speaker}/{utterance_id}.flac")


ANN, ANN_AGAIN, BOB = "1688-142285-0000", "1688-142285-0001", "1998-15444-0001"


def compared(first: object, second: object, *options: object) -> tuple[int, dict[str, object]]:
    done = speakerd("compare", first, second, "--json", *options)
    assert done.returncode in (0, 1), done.stderr
    return done.returncode, json.loads(done.stdout)


def refused(first: object, second: object, *options: object) -> str:
    done = speakerd("compare", first, second, *options)
    assert done.returncode == 2
    assert done.stdout == ""
    return done.stderr


def number(document: dict[str, object], name: str) -> float:
    value = document[name]
    assert isinstance(value, float)
    return value


def test_one_person_is_the_same_and_two_are_different() -> None:
    done = speakerd("compare", utterance(ANN), utterance(ANN_AGAIN))
    assert done.returncode == 0
    cosine, similarity, llr, verdict = done.stdout.splitlines()
    assert float(llr.split()[1]) > 5
    assert float(cosine.split()[1]) == pytest.approx(0.897948, abs=1e-4)
    assert float(similarity.split()[1]) == pytest.approx((1 + 0.897948) / 2, abs=1e-4)
    assert verdict.startswith("same speaker: cosine 0.89")
    assert verdict.endswith("is at least 0.5 (the model's)")
    assert done.stderr == ""
    done = speakerd("compare", utterance(ANN), utterance(BOB))
    assert done.returncode == 1
    assert "different speakers: cosine 0.1" in done.stdout
    assert "is below 0.5 (the model's)" in done.stdout


def test_json_has_every_scale_and_says_which_decides() -> None:
    code, told = compared(utterance(ANN), utterance(BOB), "--samples-per-chunk", 48000)
    assert code == 1
    assert told["decision"] == "different"
    assert (told["scale"], told["threshold"]) == ("cosine", 0.5)
    assert told["score"] == told["cosine"]
    assert number(told, "similarity") == (number(told, "cosine") + 1) / 2
    assert told["asnorm"] is told["warning"] is None
    assert number(told, "llr") < -5
    assert told["samples_per_chunk"] == 48000
    recordings = told["recordings"]
    assert isinstance(recordings, list)
    assert [one["path"] for one in recordings] == [str(utterance(ANN)), str(utterance(BOB))]
    assert recordings[0]["seconds"] == 15.0


def test_half_on_the_similarity_scale_is_warned_of_and_lets_strangers_in() -> None:
    done = speakerd(
        *("compare", utterance(ANN), utterance(BOB)),
        *("--threshold", 0.5, "--scale", "similarity"),
    )
    assert done.returncode == 0
    warning = "0.5 on the similarity scale accepts every non-negative cosine"
    assert f"speakerd: warning: {warning}" in done.stderr
    code, told = compared(
        utterance(ANN), utterance(BOB), "--threshold", 0.75, "--scale", "similarity"
    )
    assert code == 1
    assert told["warning"] is None


def test_asnorm_takes_a_cohort() -> None:
    cohort = shared_path("reference/wespeaker_scores/cohort.scp")
    options = ("--cohort", cohort, "--top-n", 50, "--scale", "asnorm", "--threshold", 3)
    code, same = compared(utterance(ANN), utterance(ANN_AGAIN), *options)
    assert code == 0
    code, different = compared(utterance(ANN), utterance(BOB), *options)
    assert code == 1
    assert number(same, "asnorm") > 3 > number(different, "asnorm")
    assert "fewer than top N, 300" in refused(utterance(ANN), utterance(BOB), "--cohort", cohort)


def test_llr_takes_a_profile_and_decides_at_even_odds(tmp_path: Path) -> None:
    profile = tmp_path / "telephone.toml"
    write_profile(profile, load_bundle(shipped_bundle()).card.identity, LLR)
    options = ("--profile", profile, "--scale", "llr")
    code, told = compared(utterance(ANN), utterance(ANN_AGAIN), *options)
    assert code == 0
    assert number(told, "llr") == pytest.approx(-3 + 10 * number(told, "cosine"))
    assert (told["threshold"], told["threshold_from"]) == (0.0, "even odds before")
    assert told["profile"] == "telephone"
    code, told = compared(utterance(ANN), utterance(BOB), *options)
    assert code == 1
    assert number(told, "llr") < 0


def test_a_cards_own_calibration_is_shown_and_chosen_by_name(tmp_path: Path) -> None:
    bundle = load_bundle(shipped_bundle())
    calibration = replace(bundle.card.calibration, llr=(LLR, replace(LLR, profile="near")))
    card = replace(bundle.card, calibration=calibration)
    folder = write_bundle(tmp_path / "model", card, bundle.onnx_path.read_bytes())
    sides = utterance(ANN), utterance(BOB)
    _, told = compared(*sides, "--model", folder)
    assert told["llr"] is told["profile"] is None
    _, told = compared(*sides, "--model", folder, "--profile", "near")
    assert number(told, "llr") < 0
    assert "choose one of the card's: telephone, near" in refused(
        *sides, "--model", folder, "--scale", "llr"
    )


def test_a_model_without_calibration_gives_no_answer_unasked(tmp_path: Path) -> None:
    bundle = load_bundle(shipped_bundle())
    card = replace(bundle.card, calibration=Calibration(None, None, "none"))
    folder = write_bundle(tmp_path / "model", card, bundle.onnx_path.read_bytes())
    sides = utterance(ANN), utterance(ANN_AGAIN)
    told = refused(*sides, "--model", folder)
    assert "--threshold: the model campplus/1 has none of its own on the cosine scale" in told
    told = refused(*sides, "--model", folder, "--scale", "llr")
    assert "--scale: llr needs a calibration" in told
    code, _ = compared(*sides, "--model", folder, "--threshold", 0.6, "--scale", "cosine")
    assert code == 0


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--threshold", "0.5"), "say with --scale"),
        (("--threshold", "1.5", "--scale", "cosine"), "1.5 is no cosine; it must be from -1 to 1"),
        (("--threshold", "nan", "--scale", "llr"), "--threshold: nan is no llr"),
        (("--scale", "asnorm"), "asnorm needs a --cohort"),
        (("--scale", "Cosine"), "Invalid value for '--scale'"),
        (("--top-n", "50"), "give --cohort"),
        (("--profile", "telefone"), "[PROFILE_UNUSABLE]"),
        (("--cohort", "none.npz"), "none.npz"),
        (("--samples-per-chunk", "0"), "[SAMPLES_PER_CHUNK_INVALID]"),
        (("--model", "none"), "[MODEL_UNUSABLE]"),
        (("--channel", "1"), "no channel 1"),
    ],
)
def test_what_cannot_be_answered_ends_with_2(options: tuple[str, ...], told: str) -> None:
    assert told in refused(utterance(ANN), utterance(BOB), *options)


def test_audio_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silent.wav", np.zeros(32_000), RATE_HZ)
    soundfile.write(tmp_path / "short.wav", np.ones(399), RATE_HZ)
    (tmp_path / "text.wav").write_text("no audio")
    for name, told in (
        ("silent.wav", "nothing varies"),
        ("short.wav", "at least 25 ms"),
        ("text.wav", "no audio"),
        ("gone.wav", "No such file"),
    ):
        said = refused(utterance(ANN), tmp_path / name)
        assert f"the audio file {tmp_path / name} cannot be used" in said
        assert told in said


def test_two_silent_recordings_are_no_one(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silent.wav", np.zeros(32_000), RATE_HZ)
    assert "nothing varies" in refused(tmp_path / "silent.wav", tmp_path / "silent.wav")
