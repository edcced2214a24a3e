from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path
from typing import Any

import pytest
from click import Context
from hypothesis import given
from hypothesis import strategies as st
from speakerd_server.cli.model_build_engine import build_engine
from speakerd_server.engine.engine_key import EngineKey, Profile, build_command, profiles_of
from speakerd_server.engine.lane import LaneSizes
from support.engines import KEY, SIZES

OTHER: dict[str, Any] = {
    "model": "campplus/2",
    "model_sha256": "0" * 64,
    "front_end": "wespeaker-000000000000",
    "precision": "float32",
    "recipe": 2,
    "library": "tensorrt",
    "library_version": "1.6.1.120",
    "target": "compute capability 8.6",
    "profiles": profiles_of(dataclasses.replace(SIZES, window_frames=298), 3),
}


def test_every_field_has_another_value_here() -> None:
    assert OTHER.keys() == {one.name for one in dataclasses.fields(EngineKey)}


@pytest.mark.parametrize("field", OTHER)
def test_whatever_differs_gives_another_file_and_is_said(field: str) -> None:
    other = dataclasses.replace(KEY, **{field: OTHER[field]})
    assert other.file_name != KEY.file_name
    said = KEY.differences(other)
    assert said.startswith(field.replace("_", " "))
    assert said.endswith("is wanted")
    assert ";" not in said
    assert KEY.differences(KEY) == ""


def test_profiles_are_told_in_windows_and_frames() -> None:
    other = dataclasses.replace(KEY, profiles=OTHER["profiles"])
    said = KEY.differences(other)
    assert "1 to 64 (32) windows of 298 frames" in said
    assert "1 to 64 (32) windows of 198 frames" in said


def test_a_key_survives_its_fields() -> None:
    assert EngineKey.from_fields(KEY.to_fields()) == KEY


@pytest.mark.parametrize(
    "broken",
    [
        {"recipe": "1"},
        {"target": 8.9},
        {"profiles": [{"windows": [1, 2]}]},
        {"profiles": [{"windows": [1, 2], "frames": [1, 2, 3]}]},
        {"profiles": [{"windows": ["a", 2, 3], "frames": [1, 2, 3]}]},
        {"profiles": 7},
    ],
)
def test_fields_of_another_kind_are_no_key(broken: dict[str, Any]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        EngineKey.from_fields(KEY.to_fields() | broken)
    missing = KEY.to_fields()
    del missing["model"]
    with pytest.raises(KeyError):
        EngineKey.from_fields(missing)


def test_the_default_window_of_198_frames_is_accepted_at_every_batch() -> None:
    windows, other = profiles_of(SIZES, 3)
    assert windows == Profile((1, 32, 64), (198, 198, 198))
    assert other == Profile((1, 1, 4), (3, 396, 3000))


@given(
    usual=st.integers(3, 6000),
    most=st.integers(1, 256),
    longest=st.integers(3, 6000),
    least=st.integers(1, 200),
)
def test_profiles_rise_from_least_to_most(usual: int, most: int, longest: int, least: int) -> None:
    sizes = LaneSizes(192, usual, most, max(usual, longest))
    for profile in profiles_of(sizes, least):
        for three in (profile.windows, profile.frames):
            assert 1 <= three[0] <= three[1] <= three[2]


def test_the_command_that_an_error_names_is_one_that_the_command_line_takes() -> None:
    folder = Path("my engines")
    command = build_command(Path("a model"), KEY, "gpu:1", 32000, folder)
    words = shlex.split(command)
    assert words[:3] == ["speakerd", "model", "build-engine"]
    options = build_engine.make_context("build-engine", words[3:], resilient_parsing=False).params
    assert isinstance(build_engine.make_context("x", words[3:]), Context)
    assert options["model"] == "a model"
    assert (options["device"], options["library"]) == ("gpu:1", "tensorrt_rtx")
    assert (options["precision"], options["max_batch"]) == ("float16", 64)
    assert (options["samples_per_chunk"], options["longest_s"]) == (32000, 30.0)
    assert options["cache_folder"] == folder
