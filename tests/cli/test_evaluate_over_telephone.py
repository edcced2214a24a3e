"""`speakerd evaluate --over-telephone`: scores and calibrations over a simulated line."""

from __future__ import annotations

import tomllib
from itertools import combinations
from pathlib import Path

import pytest
import soundfile
from click.testing import CliRunner, Result
from speakerd_server.cli.app import speakerd
from support.speech import RATE_HZ, eval_ids, eval_utterance


def run(*arguments: object) -> Result:
    return CliRunner().invoke(speakerd, ["evaluate", *map(str, arguments)])


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    """Two recordings of 2 s of each of six speakers, and all their pairs."""
    folder = tmp_path_factory.mktemp("speech")
    by_speaker: dict[str, list[str]] = {}
    for name in eval_ids():
        by_speaker.setdefault(name.split("-")[0], []).append(name)
    names = [name for of_one in by_speaker.values() for name in of_one[:2]]
    for name in names:
        soundfile.write(folder / f"{name}.wav", eval_utterance(name)[: 2 * RATE_HZ], RATE_HZ)
    (folder / "wav.scp").write_text("".join(f"{name} {name}.wav\n" for name in names))
    pairs = combinations(names, 2)
    lines = [
        f"{int(one.split('-')[0] == other.split('-')[0])} {one} {other}" for one, other in pairs
    ]
    (folder / "trials").write_text("\n".join(lines))
    scp = ["--wav-scp", folder / "wav.scp", "--wav-root", folder]
    return ["--trials", folder / "trials", *scp]


def scores(folder: Path) -> dict[tuple[str, str], float]:
    rows = (line.split() for line in (folder / "trials.score").read_text().splitlines())
    return {(one, other): float(score) for one, other, score, _ in rows}


def test_calls_alone_or_both_sides_go_over_the_line(given: list[object], tmp_path: Path) -> None:
    found = {}
    for how in ("none", "calls", "both"):
        more = [] if how == "none" else ["--over-telephone", how]
        result = run(*given, *more, "--bootstrap", 0, "--output", tmp_path / how)
        assert result.exit_code == 0, result.output
        found[how] = scores(tmp_path / how)
    assert found["none"].keys() == found["both"].keys()
    assert all(other.endswith("@telephone") for _, other in found["calls"])
    assert not any(one.endswith("@telephone") for one, _ in found["calls"])
    mean = {how: sum(rows.values()) / len(rows) for how, rows in found.items()}
    # Most pairs are of two speakers, who are more alike where both come over a line.
    assert mean["both"] > mean["none"] + 0.05
    assert mean["calls"] < mean["none"]


@pytest.mark.parametrize(
    ("more", "profile"),
    [
        ((), "default"),
        (("--over-telephone", "calls"), "wide-narrow"),
        (("--over-telephone", "both"), "narrow-narrow"),
        (("--over-telephone", "both", "--profile-name", "satellite"), "satellite"),
    ],
)
def test_a_calibration_is_named_for_its_line(
    given: list[object], tmp_path: Path, more: tuple[str, ...], profile: str
) -> None:
    path = tmp_path / "profile.toml"
    fit = ["--calibrate", "--with-durations", "--durations", 1, "--bootstrap", 100]
    result = run(*given, *more, *fit, "--model", "campplus", "--profile-output", path)
    assert result.exit_code == 0, result.output
    assert tomllib.loads(path.read_text())["llr"]["profile"] == profile
    assert f'Calibration "{profile}"' in result.stdout
    used = profile if profile in ("wide-narrow", "narrow-narrow") else "default"
    if profile != "satellite":  # the card has none of that name
        assert f'by the calibration "{used}"' in result.stdout


def test_a_line_needs_recordings(given: list[object], tmp_path: Path) -> None:
    embeddings = ["--scp", tmp_path / "xvector.scp"]
    result = run(*given[:2], *embeddings, "--over-telephone", "both")
    assert result.exit_code == 2
    assert "--over-telephone: it needs --wav-scp" in result.stderr
