from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from speakerd_server.cards import Calibration, ErrorRates, LlrCalibration
from speakerd_server.cli.app import speakerd
from speakerd_server.models.bundle import ONNX_NAME, list_shipped, load_bundle, shipped_bundle
from speakerd_server.models.card import CARD_NAME, card_text
from speakerd_server.models.front_end import FAMILIES, fingerprint
from speakerd_server.values import ScoreScale
from support.networks import saved, small_network, taken


def run(*arguments: object) -> Result:
    return CliRunner().invoke(speakerd, ["model", *map(str, arguments)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a bundle mine/1 in a folder of models."""
    return taken(saved(small_network(), tmp_path / "net.onnx")).folder


def test_the_shipped_models_are_listed_with_their_sizes() -> None:
    result = run("list", "--json")
    assert result.exit_code == 0
    rows: list[dict[str, Any]] = json.loads(result.stdout)
    assert {row["name"] for row in rows} == set(list_shipped())
    (row,) = (row for row in rows if row["name"] == "campplus")
    size_bytes = (shipped_bundle() / ONNX_NAME).stat().st_size
    assert row == {
        "name": "campplus",
        "version": "1",
        "dim": 192,
        "precision": "float16",
        "size_bytes": size_bytes,
        "calibrated": True,
        "folder": str(shipped_bundle()),
        "problem": None,
    }


def test_a_folder_of_models_is_listed_too(folder: Path) -> None:
    result = run("list", "--models-folder", folder.parents[1], "--json")
    (row,) = (row for row in json.loads(result.stdout) if row["name"] == "mine")
    assert (row["calibrated"], row["folder"]) == (False, str(folder))


def test_the_list_for_people_is_aligned(folder: Path) -> None:
    lines = run("list", "--models-folder", folder.parents[1]).stdout.splitlines()
    assert lines[0].split() == [
        "name",
        "version",
        "dim",
        "precision",
        "size",
        "calibrated",
        "folder",
    ]
    for line, cell in zip(
        lines, ("folder", *(line.split()[-1] for line in lines[1:])), strict=True
    ):
        assert line.index(cell) == lines[0].index("folder")


def test_a_damaged_bundle_does_not_hide_the_others(folder: Path) -> None:
    models = folder.parents[1]
    shutil.copytree(folder, models / "broken" / "1")
    (models / "broken" / "1" / CARD_NAME).write_text("dim = ")
    (folder / ONNX_NAME).write_bytes(b"other")
    result = run("list", "--models-folder", models, "--json")
    assert result.exit_code == 1
    rows = {row["name"]: row for row in json.loads(result.stdout)}
    assert set(rows) == {*list_shipped(), "broken", "mine"}
    assert "card.toml is no TOML" in rows["broken"]["problem"]
    assert rows["broken"]["dim"] is None
    assert "model.onnx is damaged: its SHA-256 is " in rows["mine"]["problem"]
    assert rows["campplus"]["problem"] is None
    told = run("list", "--models-folder", models)
    assert told.exit_code == 1
    assert "card.toml is no TOML" in told.stdout


def test_a_folder_of_models_that_is_not_there_is_named(tmp_path: Path) -> None:
    result = run("list", "--models-folder", tmp_path / "absent")
    assert result.exit_code == 2
    assert result.stderr.endswith("[MODEL_UNUSABLE]\n")


def test_all_of_a_bundle_is_shown_in_one_document() -> None:
    result = run("show", "campplus", "--json")
    assert result.exit_code == 0, result.stderr
    told: dict[str, Any] = json.loads(result.stdout)
    card = load_bundle(shipped_bundle()).card
    assert (told["sha256"], told["verified"], told["licence"]) == (card.sha256, True, "Apache-2.0")
    assert told["inputs"] == [
        {"name": "pcm", "kind": "float32", "shape": ["B", "N"]},
        {"name": "rows", "kind": "int64", "shape": ["B", "T"]},
    ]
    assert told["outputs"] == [{"name": "embeddings", "kind": "float32", "shape": ["B", 192]}]
    assert told["opset"] >= 13
    assert 6.5e6 < told["parameters"] < 7.5e6
    assert told["front_end"]["fingerprint"] == "3dspeaker-43544c32006a"
    assert (told["front_end"]["window"], told["front_end"]["mel_bins"]) == ("povey", 80)
    assert told["calibration"]["accept_at"] == card.accept_at
    assert [row["speech"] for row in told["calibration"]["measured"]] == [
        "1 s",
        "2 s",
        "4 s",
        "whole",
    ]


def test_a_bundle_is_shown_to_people_with_all_its_numbers() -> None:
    text = run("show", "campplus/1").stdout
    card = load_bundle(shipped_bundle()).card
    for part in (
        f"{card.sha256} (verified)",
        "input      rows int64[B, T]",
        "output     embeddings float32[B, 192]",
        "front end 3dspeaker-43544c32006a",
        "pre_emphasis  0.97",
        "accept_at     0.5",
        "FRR %",
        card.origin,
        card.calibration.trials,
    ):
        assert part in text


def test_ratios_of_every_profile_are_shown(folder: Path) -> None:
    llr = LlrCalibration(
        "telephone", ScoreScale.ASNORM, -6.5, 2.25, 0.5, 0.25, 40, 0.9, 0.125, "ours"
    )
    timed = replace(llr, profile="radio", shortest_s=1.0, longest_s=8.0, trials="and theirs")
    rates = ErrorRates("2 s", 7, 9, 12.5, 1.0, 2.0)
    card = load_bundle(folder).card
    card = replace(card, calibration=Calibration(0.25, 0.125, "ours", (rates,), (llr, timed)))
    (folder / CARD_NAME).write_text(card_text(card), encoding="utf-8")
    told = json.loads(run("show", folder, "--json").stdout)["calibration"]
    assert told["llr"][0]["scale"] == "asnorm"
    assert told["llr"][0]["slope"] == 2.25
    text = run("show", folder.parent).stdout
    rows = [line.split() for line in text.splitlines()]
    assert ["2", "s", "7", "9", "12.5", "1", "2"] in rows
    assert [
        "telephone",
        "asnorm",
        "-6.5",
        "2.25",
        "0.5",
        "0.25",
        "40",
        "0.9",
        "0.125",
        "-",
        "-",
        "ours",
    ] in rows
    assert any(row[:1] == ["radio"] and row[-4:] == ["1", "8", "and", "theirs"] for row in rows)


def test_a_described_front_end_is_shown_with_its_numbers(folder: Path) -> None:
    described = replace(FAMILIES["wespeaker"], family="described", low_hz=60.5)
    card = load_bundle(folder).card
    identity = replace(card.identity, front_end=fingerprint(described))
    card = replace(card, identity=identity, front_end=described)
    (folder / CARD_NAME).write_text(card_text(card), encoding="utf-8")
    text = run("show", folder).stdout
    assert f"front end {identity.front_end}" in text
    assert "low_hz        60.5" in text


def test_a_file_that_is_not_its_card_s_is_said_so_and_ends_with_one(folder: Path) -> None:
    (folder / ONNX_NAME).write_bytes(b"other")
    result = run("show", folder)
    assert result.exit_code == 1
    assert "NOT verified: model.onnx is damaged" in result.stdout
    document = run("show", folder, "--json")
    assert document.exit_code == 1
    assert json.loads(document.stdout)["verified"] is False


def test_a_terminal_obeys_nothing_that_a_card_says(folder: Path) -> None:
    card = replace(load_bundle(folder).card, origin="a\x1b[2Jb\nc")
    (folder / CARD_NAME).write_text(card_text(card), encoding="utf-8")
    text = run("show", folder).stdout
    assert "origin     a\\x1b[2Jb c\n" in text


@pytest.mark.parametrize("name", ["campluss", "./absent", ""])
def test_what_is_not_there_ends_with_the_reason(name: str) -> None:
    result = run("show", name)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.endswith("[MODEL_UNUSABLE]\n")


def test_a_graph_that_cannot_be_loaded_is_named(folder: Path) -> None:
    card = load_bundle(folder).card
    (folder / ONNX_NAME).write_bytes(b"other")
    digest = hashlib.sha256(b"other").hexdigest()
    (folder / CARD_NAME).write_text(card_text(replace(card, sha256=digest)), encoding="utf-8")
    result = run("show", folder)
    assert result.exit_code == 2
    assert "ONNX Runtime cannot load model.onnx" in result.stderr


def test_without_the_package_onnx_the_rest_is_shown() -> None:
    program = "import sys; sys.modules['onnx'] = None; from speakerd_server.cli.app import speakerd"
    done = subprocess.run(
        [sys.executable, "-c", f"{program}; speakerd(['model', 'show', 'campplus', '--json'])"],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    told = json.loads(done.stdout)
    assert (told["opset"], told["parameters"], told["verified"]) == (None, None, True)
