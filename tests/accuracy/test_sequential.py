"""Boundaries learnt from whole calls keep their promise where one threshold breaks it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from speakerd_server.cli.app import speakerd
from speakerd_server.models.bundle import shipped_bundle
from speakerd_server.models.card import read_card
from speakerd_server.models.profile import read_boundaries
from support.shared import shared_path

pytestmark = [pytest.mark.accuracy, pytest.mark.timeout(300)]

FAR = 0.01


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sequential")


@pytest.fixture(scope="module")
def told(folder: Path) -> dict[str, Any]:
    """What `speakerd evaluate --sequential` says of the shared speech."""
    cohort = sorted(shared_path("data/librispeech/cohort").glob("*.flac"))
    (folder / "cohort.scp").write_text("".join(f"{one.stem} {one}\n" for one in cohort))
    arguments = [
        "evaluate", "--trials", shared_path("data/trials/all_pairs.txt"),
        "--wav-scp", shared_path("data/trials/wav.scp"), "--wav-root", shared_path("."),
        "--cohort-wav-scp", folder / "cohort.scp", "--sequential", "--target-far", FAR,
        "--target-frr", 0.05, "--rounds", 4, "--threads", 2, "--bootstrap", 200, "--json",
        "--report", folder / "report.html", "--boundaries-output", folder / "boundaries.toml",
    ]  # fmt: skip
    result = CliRunner().invoke(speakerd, [str(one) for one in arguments])
    assert result.exit_code == 0, result.output
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def test_one_threshold_looked_at_again_breaks_its_promise_and_boundaries_keep_theirs(
    told: dict[str, Any],
) -> None:
    boundaries, alone, one_look, every_look = told["sequential"]["ways"]
    for way in (boundaries, alone, one_look, every_look):
        print(json.dumps(way))  # noqa: T201 - shown with -s and in a failure
    assert one_look["ever_accepted_percent"] <= 1.2
    assert every_look["ever_accepted_percent"] > 1.3
    assert boundaries["ever_accepted_percent"] <= 1.0
    assert alone["ever_accepted_percent"] <= 1.1
    assert boundaries["ever_rejected_percent"] <= 5.0


def test_they_decide_long_before_a_fixed_decision(told: dict[str, Any]) -> None:
    boundaries, _, one_look, _ = told["sequential"]["ways"]
    assert one_look["decided_after_mean_s"] == pytest.approx(9.9)
    assert boundaries["decided_after_p90_s"] < 6.0
    assert boundaries["undecided_percent"] <= 2.0


def test_the_report_says_what_so_much_data_supports(told: dict[str, Any]) -> None:
    found = told["sequential"]
    assert (found["speakers"], found["impostor_pairs"]) == (6, 675)
    assert 0.44 < found["smallest_far_percent"] < 1.0
    assert found["smallest_frr_percent"] == 50.0
    assert found["ways"][0]["ever_rejected_interval_percent"][1] > 40


def test_file_page_and_picture_are_written(told: dict[str, Any], folder: Path) -> None:
    (written,) = read_boundaries(folder / "boundaries.toml", read_card(shipped_bundle()).identity)
    assert list(written.accept) == told["sequential"]["boundaries"]["accept"]
    assert written.profile == "default"
    page = (folder / "report.html").read_text()
    assert "Sequential decisions" in page
    assert "--sequential --target-far 0.01" in page
    assert (folder / "report_sequential.png").stat().st_size > 10_000


def test_the_shipped_boundaries_are_near_those_that_are_learnt_here(told: dict[str, Any]) -> None:
    known = read_card(shipped_bundle()).calibration.sequential
    (shipped,) = [one for one in known if one.target_far == FAR and one.profile == "wide-wide"]
    assert told["sequential"]["boundaries"]["accept"] == pytest.approx(shipped.accept, abs=0.06)
