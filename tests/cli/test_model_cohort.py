"""`speakerd model cohort`, on a copy of the shipped model and the synthetic voices."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from speakerd_server.cli.app import speakerd
from speakerd_server.models.bundle import load_bundle, shipped_bundle
from speakerd_server.values import ScoreScale
from support.bundles import small_bundle
from support.speech import VOICES


def run(*arguments: object) -> Result:
    return CliRunner().invoke(speakerd, ["model", "cohort", *map(str, arguments)])


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """A wav.scp of two voices and one that is not there."""
    lines = [f"{name} {VOICES / name}-call.flac\n" for name in ("awb", "rms")]
    (tmp_path / "wav.scp").write_text("".join([*lines, "absent /nowhere/absent.wav\n"]))
    return tmp_path / "wav.scp"


def test_a_bundle_of_ones_own_gets_the_scale(listed: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(shipped_bundle(), tmp_path / "mine"))
    result = run(folder, "--audio", listed, "--origin", "our voices", "--json")
    assert result.exit_code == 1
    assert "/nowhere/absent.wav" in result.stderr
    told = json.loads(result.stdout)
    assert (told["speakers"], told["top_n"], told["origin"]) == (2, 2, "our voices")
    assert told["unusable"] == ["/nowhere/absent.wav"]
    bundle = load_bundle(folder)
    assert bundle.card.cohort is not None
    assert bundle.card.cohort.sha256 == told["sha256"]
    assert ScoreScale.ASNORM in bundle.card.scales
    shown = run(folder, "--audio", VOICES, "--limit", 2)
    assert shown.exit_code == 0
    assert "2 people, each over a microphone and over a telephone line" in shown.stdout
    shown = CliRunner().invoke(speakerd, ["model", "show", str(folder)])
    assert "cohort" in shown.stdout


@pytest.mark.parametrize("model", ["campplus", "campplus-int8/1", str(shipped_bundle())])
def test_the_installed_package_is_left_as_it_is(model: str, listed: Path) -> None:
    result = run(model, "--audio", listed)
    assert result.exit_code == 2
    assert "belongs to the installed package" in result.stderr


def test_what_cannot_be_done_is_named(listed: Path, tmp_path: Path) -> None:
    small = small_bundle(tmp_path / "models")
    for arguments, problem in (
        (("--audio", listed, "--top-n", 5), "COHORT_TOO_SMALL"),
        (("--audio", listed, "--limit", 1), "COHORT_TOO_SMALL"),
        (("--audio", listed, "--top-n", 1), "--top-n"),
        (("--audio", tmp_path / "models"), "no audio file"),
        ((), "--audio"),
    ):
        result = run(small, *arguments)
        assert result.exit_code == 2
        assert problem in result.stderr
    assert load_bundle(small).cohort is None
