from __future__ import annotations

from pathlib import Path

import pytest
import soundfile
from click.testing import CliRunner, Result
from speakerd_server.cli.app import speakerd
from support.speech import RATE_HZ, VOICES, read


def run(*arguments: object) -> Result:
    return CliRunner().invoke(speakerd, ["evaluate", *map(str, arguments)])


def refused(result: Result, *why: str) -> None:
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    assert len(result.stderr.strip().splitlines()) == 1
    for one in why:
        assert one in result.stderr


@pytest.fixture
def given(tmp_path: Path) -> list[object]:
    """Two recordings of three voices, two seconds each, and a voice as cohort."""
    wavs, trials = [], []
    names = ("awb", "rms", "slt")
    for name in names:
        samples = read(VOICES / f"{name}-enrol.flac")
        for number in range(2):
            path = tmp_path / f"{name}-{number}.wav"
            start = number * RATE_HZ
            soundfile.write(path, samples[start : start + 2 * RATE_HZ], RATE_HZ)
            wavs.append(f"{name}-{number} {path}")
    for name in names:
        trials.append(f"{name}-0 {name}-1 target")
        trials += [f"{name}-0 {other}-1 nontarget" for other in names if other != name]
    (tmp_path / "wav.scp").write_text("\n".join(wavs))
    (tmp_path / "trials").write_text("\n".join(trials))
    (tmp_path / "cohort.scp").write_text(f"kal16 {VOICES / 'kal16-call.flac'}")
    (tmp_path / "utt2spk").write_text("".join(f"{one.split()[0]} {one[:3]}\n" for one in wavs))
    return [
        "--trials", tmp_path / "trials", "--wav-scp", tmp_path / "wav.scp",
        "--utt2spk", tmp_path / "utt2spk",
        "--sequential", "--target-far", 0.1, "--target-frr", 0.1,
        "--cohort-wav-scp", tmp_path / "cohort.scp",
    ]  # fmt: skip


def without(given: list[object], option: str, values: int = 1) -> list[object]:
    place = given.index(option)
    return [*given[:place], *given[place + 1 + values :]]


@pytest.mark.parametrize("option", ["--target-far", "--target-frr", "--cohort-wav-scp"])
def test_what_it_needs_is_named(given: list[object], option: str) -> None:
    refused(run(*without(given, option)), option, "needs it", "[OPTION_INVALID]")


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (["--target-far", 0.7], "--target-far: 0.7 is not"),
        (["--target-frr", "nan"], "--target-frr: nan is not"),
        (["--maximum-speech", 0], "--maximum-speech"),
        (["--maximum-speech", 1], "less than one window"),
        (["--enroll-speech", 0], "--enroll-speech"),
        (["--rounds", 0], "--rounds"),
        (["--samples-per-chunk", -1], "--samples-per-chunk"),
        (["--samples-per-chunk", 0], "samples_per_chunk"),
        (["--bootstrap", 10], "--bootstrap"),
        (["--profile-name", "wide"], "narrow-narrow"),
        (["--into-card", "--model", "campplus"], "--boundaries-output"),
        (["--mean-vec", "m.npy"], "no mean is taken off"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(
    given: list[object], more: list[object], why: str
) -> None:
    refused(run(*given, *more), why)


@pytest.mark.parametrize(
    "more",
    [
        ["--target-frr", 0.1],
        ["--rounds", 3],
        ["--all-audio"],
        ["--boundaries-output", "b.toml"],
    ],
)
def test_its_options_mean_nothing_without_it(given: list[object], more: list[object]) -> None:
    plain = given[: given.index("--sequential")]
    refused(run(*plain, *more), f"{more[0]}: it needs --sequential")


def test_a_cohort_of_people_who_call_is_refused(given: list[object], tmp_path: Path) -> None:
    (tmp_path / "cohort.scp").write_text(f"slt {VOICES / 'kal16-call.flac'}")
    refused(run(*given), "slt is a speaker of the trials as well")


def test_people_without_enough_speech_for_a_call_are_counted(given: list[object]) -> None:
    refused(run(*given, "--maximum-speech", 10), "at least 5 speakers, there are 0")


def test_too_few_people_are_refused(given: list[object]) -> None:
    few = [*given, "--maximum-speech", 2, "--enroll-speech", 1, "--rounds", 1, "--all-audio"]
    refused(run(*few), "at least 5 speakers, there are", "[TOO_FEW_TRIALS]")
