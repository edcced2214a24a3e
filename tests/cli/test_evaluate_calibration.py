from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner, Result
from speakerd_server.cli.app import speakerd
from speakerd_server.models.bundle import shipped_bundle
from speakerd_server.models.card import CARD_NAME, read_card
from speakerd_server.models.profile import read_profile
from speakerd_server.offline.vectors import write_npz
from speakerd_server.values import ScoreScale
from support.shared import shared_path
from support.speech import RATE_HZ, VOICES, read

PERSONS = 7
DIM = 192
"""Of the shipped model, which is said to have made the embeddings."""


def run(*arguments: object) -> Result:
    return CliRunner().invoke(speakerd, ["evaluate", *map(str, arguments)])


def told(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def refused(result: Result, *why: str) -> None:
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    assert len(result.stderr.strip().splitlines()) == 1
    for one in why:
        assert one in result.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Seven persons of four recordings each, all against all, and twenty impostors."""
    generator = np.random.default_rng(5)
    voices = generator.standard_normal((PERSONS, 1, DIM))
    values = (voices + 2.0 * generator.standard_normal((PERSONS, 4, DIM))).reshape(-1, DIM)
    ids = [f"s{person}-{number}" for person in range(PERSONS) for number in range(4)]
    write_npz(tmp_path / "x.npz", ids, values.astype(np.float32))
    impostors = generator.standard_normal((20, DIM)).astype(np.float32)
    write_npz(tmp_path / "cohort.npz", [f"c{number}" for number in range(20)], impostors)
    pairs = [(one, other) for at, one in enumerate(ids) for other in ids[at + 1 :]]
    lines = [
        f"{one} {other} {'target' if one[:2] == other[:2] else 'nontarget'}" for one, other in pairs
    ]
    (tmp_path / "trials.txt").write_text("\n".join(lines) + "\n")
    (tmp_path / "utt2spk").write_text("".join(f"{one} {one[:2]}\n" for one in ids))
    return tmp_path


@pytest.fixture
def given(folder: Path) -> list[object]:
    return ["--trials", folder / "trials.txt", "--scp", folder / "x.npz", "--bootstrap", 100]


@pytest.fixture
def spoken(folder: Path) -> list[object]:
    """The trials over recordings of the committed voices, so that durations are known."""
    ids = (folder / "utt2spk").read_text().splitlines()
    voices = sorted(VOICES.glob("*.flac"))
    lines = []
    for number, line in enumerate(ids):
        samples = read(voices[number // 4])
        start = 4000 * (number % 4)
        piece = samples[start : start + RATE_HZ + 3000 * number]
        path = folder / f"{number}.wav"
        soundfile.write(path, piece, RATE_HZ)
        lines.append(f"{line.split()[0]} {path}")
    (folder / "wav.scp").write_text("\n".join(lines) + "\n")
    return [
        "--trials", folder / "trials.txt", "--wav-scp", folder / "wav.scp", "--bootstrap", 100,
    ]  # fmt: skip


def test_a_calibration_is_fitted_shown_and_written(folder: Path, given: list[object]) -> None:
    path = folder / "telephone.toml"
    options = ["--calibrate", "--profile-name", "telephone", "--profile-output", path]
    result = run(*given, *options, "--model", "campplus")
    assert result.exit_code == 0, result.output
    assert 'Calibration "telephone": llr = ' in result.stdout
    assert "on speakers left out of the fit (7 groups in turn)" in result.stdout
    assert "before  Cllr" in result.stdout
    assert f"Written: {path}" in result.stdout
    llr = read_profile(path, read_card(shipped_bundle()).identity, "telephone")
    assert (llr.scale, llr.speakers) == (ScoreScale.COSINE, PERSONS)
    assert llr.cllr_after < llr.cllr_before
    assert llr.trials == "trials.txt (whole)"


def test_json_has_the_same_numbers(folder: Path, given: list[object]) -> None:
    options = ["--calibrate", "--target-far", 0.05, "--report", folder / "r.html", "--json"]
    document = told(run(*given, *options))
    calibration, (threshold,) = document["calibration"], document["thresholds"]
    assert calibration["llr"]["cllr_after"] == calibration["after"]["cllr"]
    low, high = calibration["after"]["interval"]
    assert low <= calibration["after"]["cllr"] <= high
    assert calibration["after"]["minimum"] <= calibration["after"]["cllr"]
    assert threshold["far_percent"] <= 5
    assert (threshold["impostor_pairs"], threshold["genuine_pairs"]) == (336, 42)
    assert threshold["measured"] is False
    assert Path(document["written"][0]).name == "r.html"


def test_a_profile_is_used_in_place_of_the_card(folder: Path, given: list[object]) -> None:
    path = folder / "p.toml"
    plain = told(run(*given, "--json"))
    assert plain["lists"][0]["results"][0]["cllr"] is None
    model = ["--model", "campplus"]
    assert run(*given, *model, "--calibrate", "--profile-output", path).exit_code == 0
    (result,) = told(run(*given, *model, "--profile", path, "--json"))["lists"][0]["results"]
    assert result["minimum_cllr"] <= result["cllr"] < 1
    assert result["calibration"]["trials"] == "trials.txt (whole)"
    assert all(cost["actual"] >= cost["minimum"] for cost in result["costs"])


def test_normalised_scores_are_what_is_fitted_with_a_cohort(
    folder: Path, given: list[object]
) -> None:
    cohort = ["--cohort-scp", folder / "cohort.npz", "--top-n", 10]
    path = folder / "p.toml"
    options = ["--model", "campplus", "--calibrate", "--profile-output", path]
    assert run(*given, *cohort, *options).exit_code == 0
    assert read_profile(path, None).scale is ScoreScale.ASNORM
    results = told(run(*given, *cohort, "--profile", path, "--json"))["lists"][0]["results"]
    assert [one["cllr"] is not None for one in results] == [False, True]
    refused(run(*given, "--profile", path), "asnorm scores; give --cohort-scp")


def test_a_calibration_goes_into_the_card_of_a_folder(folder: Path, given: list[object]) -> None:
    bundle = shutil.copytree(shipped_bundle(), folder / "bundle")
    options = ["--calibrate", "--into-card", "--fitted-on", "made trials", "--profile-name", "x"]
    result = run(*given, "--model", bundle, *options)
    assert result.exit_code == 0, result.output
    assert f"Written: {bundle / CARD_NAME}" in result.stdout
    assert read_card(bundle).calibration.llr[-1].trials == "made trials"
    used = told(run(*given, "--model", bundle, "--profile-name", "x", "--json"))
    assert used["lists"][0]["results"][0]["cllr"] < 1


@pytest.mark.parametrize("options", [(), ("--model", "campplus")])
def test_a_misspelt_channel_type_is_not_taken_for_none(
    given: list[object], options: tuple[str, ...]
) -> None:
    refused(run(*given, *options, "--profile-name", "defualt"), "OPTION_INVALID", "defualt")


def test_the_card_of_an_installed_model_is_left_alone(given: list[object]) -> None:
    for model in ("campplus", "campplus/1"):
        result = run(*given, "--calibrate", "--into-card", "--model", model)
        refused(result, "belongs to the installed package", "--profile-output")


def test_durations_are_fitted_over_all_lengths_of_speech(
    folder: Path, spoken: list[object]
) -> None:
    path = folder / "p.toml"
    options = ["--calibrate", "--with-durations", "--durations", 1, "--profile-output", path]
    document = told(run(*spoken, *options, "--report", folder / "r.html", "--json"))
    assert document["calibration"]["fitted_trials"] == 2 * 378
    llr = read_profile(path, None)
    assert llr.shorter != 0
    assert llr.trials == "trials.txt (1 s, whole)"
    assert (folder / "r_durations.png").exists()
    scp = ["--trials", folder / "trials.txt", "--scp", folder / "x.npz"]
    refused(run(*scp, "--profile", path), "seconds of speech, which only --wav-scp tells")


def test_a_length_that_leaves_too_few_pairs_says_so_and_the_rest_is_done(
    spoken: list[object],
) -> None:
    # Some of the recordings are shorter than 3 seconds.
    result = run(*spoken, "--durations", 3, "--target-far", 0.01)
    assert result.exit_code == 1, result.output
    assert "No threshold, cosine" in result.stdout
    assert "at least 300 impostor pairs" in result.stdout
    assert "Threshold for a false-accept rate of 1 %" in result.stdout


def test_a_rate_is_refused_before_any_work_where_pairs_are_too_few(folder: Path) -> None:
    # The recordings do not exist: nothing asks for them.
    (folder / "wav.scp").write_text("s0-0 nothing.wav\n")
    result = run(
        "--trials", folder / "trials.txt", "--wav-scp", folder / "wav.scp", "--target-far", 0.001
    )
    refused(result, "at least 3000 impostor pairs, there are 336", "0.008929 and above")


def test_a_profile_of_another_model_is_refused_by_name(folder: Path, given: list[object]) -> None:
    path = folder / "p.toml"
    options = ["--model", "campplus", "--calibrate", "--profile-output", path]
    assert run(*given, *options).exit_code == 0
    path.write_text(path.read_text().replace('version = "1"', 'version = "0"'))
    refused(run(*given, "--model", "campplus", "--profile", path), "is one of another model")
    refused(run(*given, "--profile", path, "--profile-name", "x"), "it is the profile 'default'")
    refused(run(*given, "--profile", folder / "none.toml"), "cannot be read")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--with-durations"], "--with-durations: it needs --calibrate"),
        (["--fitted-on", "x"], "--fitted-on: it needs --calibrate"),
        (["--profile-output", "p.toml"], "--profile-output: it needs --calibrate"),
        (["--into-card"], "--into-card: it needs --calibrate"),
        (["--calibrate", "--with-durations"], "--with-durations: it needs --wav-scp"),
        (["--calibrate", "--profile-output", "p.toml"], "--model must say"),
        (["--calibrate", "--into-card"], "--model must say"),
        (["--calibrate", "--bootstrap", 5], "need at least 100 draws"),
        (["--target-far", 0.1, "--bootstrap", 0], "need at least 100 draws"),
        (["--target-far", 0], "--target-far: 0 is not above 0"),
        (["--target-far", "nan"], "--target-far: nan is not above 0"),
        (["--target-far", 0.6], "at most 0.5"),
        (["--report", "out.pdf"], "--report: out.pdf does not end in .html"),
        (["--calibrate", "--profile-name", "a\nb"], "cannot be printed"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    given: list[object], options: list[object], why: str
) -> None:
    refused(run(*given, *options), why)


def test_several_lists_are_fitted_together_only_when_it_is_known_who_speaks(
    folder: Path, given: list[object]
) -> None:
    shutil.copy(folder / "trials.txt", folder / "more.txt")
    lists = [*given, "--trials", folder / "more.txt", "--calibrate"]
    refused(run(*lists), "it needs --utt2spk")
    document = told(run(*lists, "--utt2spk", folder / "utt2spk", "--json"))
    assert document["calibration"]["fitted_trials"] == 2 * 378
    assert document["calibration"]["llr"]["trials"] == "trials.txt, more.txt (whole)"


def test_an_output_that_cannot_be_written_is_named(folder: Path, given: list[object]) -> None:
    (folder / "file").write_text("")
    options = ["--model", "campplus", "--calibrate", "--profile-output"]
    refused(run(*given, *options, folder / "file" / "p.toml"), "OUTPUT_UNUSABLE", "is a file")
    refused(run(*given, "--report", folder / "file" / "r.html"), "OUTPUT_UNUSABLE", "is a file")
    (folder / "p.toml").mkdir()
    refused(run(*given, *options, folder / "p.toml"), "OUTPUT_UNUSABLE", "p.toml")


def test_what_cannot_be_written_at_the_end_is_refused_before_any_work(folder: Path) -> None:
    (folder / "file").write_text("")
    given = ["--trials", folder / "no list", "--wav-scp", folder / "no recordings"]
    refused(run(*given, "--report", folder / "file" / "r.html"), "OUTPUT_UNUSABLE")


def test_the_report_tells_how_it_was_made_and_no_folder(folder: Path, given: list[object]) -> None:
    result = run(*given, "--model", "campplus", "--target-far", 0.05, "--report", folder / "r.html")
    assert result.exit_code == 0, result.output
    page = (folder / "r.html").read_text(encoding="utf-8")
    assert "speakerd evaluate --trials trials.txt --scp x.npz --model campplus" in page
    assert "--bootstrap 100 --target-far 0.05 --report r.html" in page
    assert read_card(shipped_bundle()).sha256 in page
    assert str(folder) not in page


@pytest.mark.timeout(120)
def test_wespeakers_embeddings_get_the_threshold_and_the_calibration_of_their_scores(
    tmp_path: Path,
) -> None:
    reference = shared_path("reference/wespeaker_scores")
    trials = shared_path("data/trials/all_pairs.txt")
    options = ["--calibrate", "--target-far", 0.01, "--report", tmp_path / "r.html", "--json"]
    document = told(run("--trials", trials, "--scp", reference / "xvector.scp", *options))
    assert document["thresholds"][0]["threshold"] == 0.31402
    assert document["calibration"]["after"]["cllr"] == pytest.approx(0.154, abs=0.002)
