from __future__ import annotations

from pathlib import Path

import pytest
from speakerd_server.errors import OptionInvalid
from speakerd_server.models.description import choose_front_end
from speakerd_server.models.front_end import FAMILIES


def test_a_file_that_says_what_a_family_is_gives_the_family(tmp_path: Path) -> None:
    path = tmp_path / "same.toml"
    path.write_text('sample_scale = 1\nwindow = "povey"\nhigh_hz = 0\n')
    assert choose_front_end(str(path)) is FAMILIES["3dspeaker"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('window = "povey"', "lacks sample_scale"),
        ("sample_scale = 1", "lacks window"),
        (
            'sample_scale = 1\nwindow = "povey"\nmels = 8',
            "unknown key mels; there is sample_scale,",
        ),
        ('sample_scale = 1\nwindow = "povey"\nfamily = "x"', "unknown key family"),
        ('sample_scale = "1"\nwindow = "povey"', "sample_scale must be a number"),
        ('sample_scale = true\nwindow = "povey"', "sample_scale must be a number"),
        ("sample_scale = 1\nwindow = 1", "window must be text"),
        ('sample_scale = 1\nwindow = "povey"\nmel_bins = 80.0', "must be a whole number"),
        ('sample_scale = 1\nwindow = "povey"\nmean_removed = 1', "must be true or false"),
        ('sample_scale = 1\nwindow = "hann"', "window: 'hann' is unknown; there is hamming"),
        ('sample_scale = 1\nwindow = "povey"\nhigh_hz = 9e3', "high_hz: 9000 is above 8000"),
        ('sample_scale = nan\nwindow = "povey"', "sample_scale: nan"),
        ("sample_scale", "is no TOML"),
        ("a = " + "[" * 5000, "is no TOML"),
        (None, "cannot be read"),
    ],
)
def test_a_wrong_description_is_refused_by_the_key(
    tmp_path: Path, content: str | None, problem: str
) -> None:
    path = tmp_path / "front_end.toml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(OptionInvalid, match=problem) as refused:
        choose_front_end(str(path))
    assert str(path) in refused.value.problem


@pytest.mark.parametrize("name", ["wespeakr", "", "front_end", "net.onnx"])
def test_an_unknown_family_is_told_the_known(name: str) -> None:
    with pytest.raises(OptionInvalid, match="give 3dspeaker, wespeaker or a description"):
        choose_front_end(name)
