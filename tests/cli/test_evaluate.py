from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner, Result
from speakerd_server.cli.app import speakerd
from speakerd_server.offline.vectors import write_npz
from support.speech import RATE_HZ, VOICES, read

PERSONS = 7


def run(*arguments: object) -> Result:
    return CliRunner().invoke(speakerd, ["evaluate", *map(str, arguments)])


def refused(result: Result, *told: str) -> None:
    """Check that a command was not done, told why in one line, and left no traceback."""
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    assert len(result.stderr.strip().splitlines()) == 1
    for one in told:
        assert one in result.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Seven persons of three recordings each, all against all, and twenty impostors."""
    generator = np.random.default_rng(5)
    voices = generator.standard_normal((PERSONS, 1, 16))
    values = (voices + 0.8 * generator.standard_normal((PERSONS, 3, 16))).reshape(-1, 16)
    ids = [f"s{person}-{number}" for person in range(PERSONS) for number in range(3)]
    write_npz(tmp_path / "x.npz", ids, values.astype(np.float32))
    impostors = generator.standard_normal((20, 16)).astype(np.float32)
    write_npz(tmp_path / "cohort.npz", [f"c{number}" for number in range(20)], impostors)
    np.save(tmp_path / "mean_vec.npy", impostors.mean(axis=0))
    pairs = [(one, other) for at, one in enumerate(ids) for other in ids[at + 1 :]]
    lines = [
        f"{one} {other} {'target' if one[:2] == other[:2] else 'nontarget'}" for one, other in pairs
    ]
    (tmp_path / "trials.txt").write_text("\n".join(lines) + "\n")
    (tmp_path / "utt2spk").write_text("".join(f"{one} {one[:2]}\n" for one in ids))
    return tmp_path


@pytest.fixture
def given(folder: Path) -> list[object]:
    return ["--trials", folder / "trials.txt", "--scp", folder / "x.npz"]


def test_a_list_is_measured_and_shown(folder: Path, given: list[object]) -> None:
    result = run(*given, "--bootstrap", 50)
    assert result.exit_code == 0, result.output
    head, titles, row = result.stdout.splitlines()[:3]
    assert head == f"{folder / 'trials.txt'}: 21 target and 189 non-target trials"
    assert titles.split("  ")[1] == "speech"
    assert "minDCF 0.01  minDCF 0.005  minCllr" in titles
    assert row.split()[:4] == ["whole", "cosine", "210", "7"]
    assert "50 draws of speakers, not of trials" in result.stdout
    assert "without a calibration" in result.stdout
    assert "nan" not in result.stdout.lower()


def document(*arguments: object) -> dict[str, Any]:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_the_document_has_every_number(folder: Path, given: list[object]) -> None:
    options = ["--cohort-scp", folder / "cohort.npz", "--top-n", 10, "--p-target", 0.05]
    options += ["--mean-vec", folder / "mean_vec.npy", "--c-fa", 2, "--bootstrap", 50]
    found = document(*given, *options, "--output", folder / "scores")
    (one,) = found["lists"]
    assert (one["target_trials"], one["nontarget_trials"], one["repeated_trials"]) == (21, 189, 0)
    assert [row["scale"] for row in one["results"]] == ["cosine", "asnorm"]
    for row in one["results"]:
        low, high = row["equal_error_interval_percent"]
        assert 0 <= low <= row["equal_error_percent"] <= high <= 100
        assert [(cost["p_target"], cost["c_fa"]) for cost in row["costs"]] == [(0.05, 2.0)]
        assert 0 <= row["minimum_cllr"] <= 1
        assert row["cllr"] is row["costs"][0]["actual"] is row["model"] is None
    names = sorted(path.name for path in (folder / "scores").iterdir())
    assert names == ["trials.txt.score", "trials.txt_asnorm10.score"]


def test_the_mean_of_a_list_and_the_mean_itself_are_one(folder: Path, given: list[object]) -> None:
    one = document(*given, "--mean-vec", folder / "mean_vec.npy", "--bootstrap", 20)
    assert one == document(*given, "--mean-scp", folder / "cohort.npz", "--bootstrap", 20)
    assert one != document(*given, "--bootstrap", 20)


def test_speakers_that_are_told_are_those_of_the_target_trials(
    folder: Path, given: list[object]
) -> None:
    told = document(*given, "--utt2spk", folder / "utt2spk", "--bootstrap", 20)
    (row,), (other,) = (one["lists"][0]["results"] for one in (told, document(*given)))
    assert row["speakers"] == other["speakers"] == PERSONS
    assert row["equal_error_percent"] == other["equal_error_percent"]


def test_a_seed_gives_the_same_document(given: list[object]) -> None:
    one, again, other = (document(*given, "--bootstrap", 50, "--seed", seed) for seed in (3, 3, 4))
    assert one == again != other


def test_s_norm_takes_the_whole_cohort(folder: Path, given: list[object]) -> None:
    cohort = ["--cohort-scp", folder / "cohort.npz"]
    whole = document(*given, *cohort, "--norm", "snorm", "--output", folder / "s")
    top = document(*given, *cohort, "--top-n", 20, "--output", folder / "s")
    assert whole == top
    one, other = (folder / "s" / f"trials.txt_{norm}.score" for norm in ("snorm", "asnorm20"))
    assert one.read_bytes() == other.read_bytes()


def test_several_lists_are_measured_each_alone(folder: Path, given: list[object]) -> None:
    lines = (folder / "trials.txt").read_text().splitlines()
    (folder / "fewer.txt").write_text("\n".join(lines[::2]))
    alone = document("--trials", folder / "fewer.txt", *given[2:], "--bootstrap", 20)
    both = document(*given, "--trials", folder / "fewer.txt", "--bootstrap", 20)
    assert both["lists"][1] == alone["lists"][0]
    assert both["lists"][0] == document(*given, "--bootstrap", 20)["lists"][0]


def test_the_model_of_embeddings_is_the_one_that_is_named(
    folder: Path, given: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPEAKERD_MODEL_DEFAULT", "no-such-model")
    assert document(*given)["lists"][0]["results"][0]["model"] is None
    refused(run(*given, "--model", "no-such-model"), "no-such-model", "[MODEL_UNUSABLE]")
    refused(run(*given, "--model", "campplus"), "16 values", "campplus", "192")


def write(name: str, content: str | bytes) -> Callable[[Path], None]:
    def writing(folder: Path) -> None:
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)

    return writing


def cut(name: str, keep: int) -> Callable[[Path], None]:
    def cutting(folder: Path) -> None:
        (folder / name).write_bytes((folder / name).read_bytes()[:keep])

    return cutting


COHORT = ["--cohort-scp", "cohort.npz"]


@pytest.mark.parametrize(
    ("spoil", "options", "told"),
    [
        (
            write("trials.txt", "s0-0 s0-1 target\ns0-0 zz nontarget\ns0-0 yy nontarget\n"),
            [],
            ["trials.txt, line 2: zz is not in", "2 such id(s)", "[LIST_INVALID]"],
        ),
        (write("trials.txt", "s0-0 s0-1 target\n"), [], ["non-target", "[TRIALS_UNUSABLE]"]),
        (write("trials.txt", "s0-0 s1-1 nontarget\n"), [], ["target", "[TRIALS_UNUSABLE]"]),
        (write("trials.txt", "s0-0 s0-1\n"), [], ["line 1", "[LIST_INVALID]"]),
        (
            write("trials.txt", "s0-0 s0-1 target\ns0-1 s0-2 target\ns0-0 s0-2 nontarget\n"),
            [],
            ["contradict who speaks", "[TRIALS_UNUSABLE]"],
        ),
        (lambda folder: None, COHORT, ["20 embedding(s)", "300", "[COHORT_TOO_SMALL]"]),
        (lambda folder: None, [*COHORT, "--top-n", "1"], ["--top-n", "[OPTION_INVALID]"]),
        (cut("x.npz", 200), [], ["x.npz", "[VECTORS_UNUSABLE]"]),
        (cut("cohort.npz", 200), COHORT, ["cohort.npz", "[VECTORS_UNUSABLE]"]),
        (cut("mean_vec.npy", 140), ["--mean-vec", "mean_vec.npy"], ["[VECTORS_UNUSABLE]"]),
        (
            lambda folder: np.save(folder / "mean_vec.npy", np.ones(192, np.float32)),
            ["--mean-vec", "mean_vec.npy"],
            ["mean_vec.npy", "192 values", "16", "[VECTORS_UNUSABLE]"],
        ),
        (
            lambda folder: write_npz(folder / "c.npz", ["a"] * 1, np.ones((1, 4), np.float32)),
            ["--cohort-scp", "c.npz"],
            ["c.npz", "4 values", "16", "[VECTORS_UNUSABLE]"],
        ),
        (write("scores", ""), ["--output", "scores"], ["scores", "[OUTPUT_UNUSABLE]"]),
        (write("utt2spk", "s0-0 s0\n"), ["--utt2spk", "utt2spk"], ["20 id(s)", "[LIST_INVALID]"]),
        (lambda folder: None, ["--durations", "1"], ["--wav-scp", "[OPTION_INVALID]"]),
        (lambda folder: None, ["--trials", "gone.txt"], ["gone.txt", "[LIST_INVALID]"]),
    ],
)
def test_bad_input_is_refused_by_name(
    folder: Path,
    given: list[object],
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[Path], object],
    options: list[str],
    told: list[str],
) -> None:
    monkeypatch.chdir(folder)
    spoil(folder)
    refused(run(*given, *options), *told)


def test_nothing_is_asked_for_without_trials() -> None:
    result = run("--scp", "x.scp")
    assert result.exit_code == 2
    assert "--trials" in result.stderr


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """Three cuts of 2 s each of two synthetic persons."""
    lines = []
    for person in ("slt", "awb"):
        for number, (name, at) in enumerate([("enrol", 0), ("enrol", 2), ("call", 0)]):
            samples = read(VOICES / f"{person}-{name}.flac")[at * RATE_HZ : (at + 2) * RATE_HZ]
            soundfile.write(tmp_path / f"{person}{number}.wav", samples, RATE_HZ)
            lines.append(f"{person}{number}")
    (tmp_path / "wav.scp").write_text("".join(f"{one} {one}.wav\n" for one in lines))
    pairs = [(one, other) for at, one in enumerate(lines) for other in lines[at + 1 :]]
    trials = [f"{int(one[:3] == other[:3])} {one} {other}" for one, other in pairs]
    (tmp_path / "voices").write_text("\n".join(trials))
    return tmp_path


def test_recordings_are_embedded_and_measured_at_each_length(recordings: Path) -> None:
    given = ["--trials", recordings / "voices", "--wav-scp", recordings / "wav.scp"]
    given += ["--wav-root", recordings, "--durations", "1,9", "--threads", 2]
    result = run(*given, "--json", "--output", recordings / "scores")
    assert result.exit_code == 1, result.output
    (one,) = json.loads(result.stdout)["lists"]
    rows = {row["speech"]: row for row in one["results"]}
    assert list(rows) == ["1 s", "9 s", "whole"]
    assert rows["whole"]["model"].startswith("campplus/")
    assert rows["whole"]["equal_error_percent"] == 0
    assert rows["whole"]["equal_error_interval_percent"] is None
    assert rows["9 s"] | {"model": ""} == {
        "speech": "9 s",
        "scale": "cosine",
        "model": "",
        "trials": 0,
        "left_out_trials": 15,
        "problem": "15 trials have a shorter side; no target trial is left",
    }
    names = sorted(path.name for path in (recordings / "scores").iterdir())
    assert names == ["voices.score", "voices_1s.score"]
    shown = run(*given)
    assert shown.exit_code == 1
    assert "9 s, cosine: 15 trials have a shorter side" in shown.stdout
    assert "No interval is given for fewer than 5 speakers" in shown.stdout


def test_a_recording_that_cannot_be_read_is_refused_by_name(recordings: Path) -> None:
    (recordings / "awb1.wav").write_bytes((recordings / "awb1.wav").read_bytes()[:1000])
    given = ["--trials", recordings / "voices", "--wav-scp", recordings / "wav.scp"]
    refused(run(*given, "--wav-root", recordings), "awb1.wav", "[AUDIO_FILE_UNUSABLE]")
    refused(run(*given), "slt0.wav", "[AUDIO_FILE_UNUSABLE]")


def test_raw_recordings_of_a_channel_are_measured(recordings: Path) -> None:
    for path in recordings.glob("*.wav"):
        samples, _ = soundfile.read(path, dtype="int16")
        np.stack([np.zeros_like(samples), samples], axis=1).tofile(path.with_suffix(".raw"))
    listed = (recordings / "wav.scp").read_text().replace(".wav", ".raw")
    (recordings / "raw.scp").write_text(listed)
    given = ["--trials", recordings / "voices", "--wav-root", recordings, "--bootstrap", 0]
    raw = ["--wav-scp", recordings / "raw.scp", "--raw", "pcm16le:16000:2", "--channel", 1]
    found = document(*given, *raw)
    assert found == document(*given, "--wav-scp", recordings / "wav.scp")
    refused(run(*given, *raw[:2]), "slt0.raw", "--raw", "[AUDIO_FILE_UNUSABLE]")
    refused(run(*given, *raw[:2], "--raw", "pcm17:8000"), "--raw", "[OPTION_INVALID]")
