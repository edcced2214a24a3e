"""Cohorts made of recordings, and those that are shipped."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from speakerd_server.errors import CohortTooSmall, OutputUnusable
from speakerd_server.models.bundle import list_shipped, load_bundle, shipped_bundle
from speakerd_server.models.card import CARD_NAME, read_card
from speakerd_server.models.cohort import COHORT_NAME
from speakerd_server.offline import cohort_recipe
from speakerd_server.offline.cohort import MadeCohort, add_cohort, make_cohort, over_line
from speakerd_server.offline.embedding import Extractor
from speakerd_server.offline.recordings import Reading
from support.shared import shared_path
from support.speech import RATE_HZ, VOICES, read

BUNDLE = load_bundle(shipped_bundle())
CALLS = tuple(VOICES / f"{name}-call.flac" for name in ("awb", "rms", "slt"))


def made(paths: Sequence[Path] = CALLS, top_n: int | None = None) -> MadeCohort:
    return make_cohort(
        BUNDLE, paths, Reading(), lambda count: None, origin="synthetic voices", top_n=top_n
    )


@pytest.fixture(scope="module")
def of_three() -> MadeCohort:
    return made([*CALLS, VOICES / "absent.flac"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the shipped bundle."""
    return Path(shutil.copytree(shipped_bundle(), tmp_path / "bundle"))


def test_each_person_is_there_over_a_microphone_and_over_a_line(
    of_three: MadeCohort, folder: Path
) -> None:
    (absent,) = of_three.unusable
    assert "absent.flac" in str(absent)
    add_cohort(folder, of_three)
    bundle = load_bundle(folder)
    assert bundle.cohort is not None
    assert bundle.card.cohort is not None
    described = (bundle.card.cohort.speakers, bundle.card.cohort.top_n, bundle.card.cohort.origin)
    assert described == (3, 3, "synthetic voices")
    extractor, samples = Extractor(BUNDLE), read(CALLS[1])
    for kept, heard in (
        (bundle.cohort.wide[1], samples),
        (bundle.cohort.narrow[1], over_line(samples, RATE_HZ)),
    ):
        embedding = extractor.embed(heard)
        alike = float(kept @ embedding) / float(np.linalg.norm(embedding))
        assert alike > 0.99999
    before = read_card(shipped_bundle())
    assert bundle.card.calibration == before.calibration


def test_a_cohort_smaller_than_what_is_taken_of_it_is_refused(of_three: MadeCohort) -> None:
    assert of_three.description.top_n == 3
    with pytest.raises(CohortTooSmall, match="fewer than top N, 4"):
        made(top_n=4)
    with pytest.raises(CohortTooSmall, match="1 embedding"):
        made(CALLS[:1])
    with pytest.raises(CohortTooSmall, match="0 embedding"):
        made([VOICES / "absent.flac"])


def test_a_folder_that_cannot_be_written_is_named(of_three: MadeCohort, folder: Path) -> None:
    # A folder in the way of the new file: the mode of a folder would not stop root.
    (folder / f".{COHORT_NAME}.new").mkdir()
    before = (folder / CARD_NAME).read_bytes()
    with pytest.raises(OutputUnusable):
        add_cohort(folder, of_three)
    assert (folder / CARD_NAME).read_bytes() == before


def test_the_recipe_makes_the_shipped_cohorts_but_for_rounding(tmp_path: Path) -> None:
    # Two of the 110 are enough to tell the recordings, their order and the way they are heard.
    paths = sorted(shared_path("data/librispeech/cohort").glob("*.flac"))
    for name in list_shipped():
        path = cohort_recipe.make_file(name, [paths[0], paths[-1]], tmp_path)
        shipped = load_bundle(shipped_bundle(name)).cohort
        assert shipped is not None
        with np.load(path) as file:
            for band, kept in (("wide", shipped.wide), ("narrow", shipped.narrow)):
                np.testing.assert_allclose(file[band], kept[[0, -1]], atol=5e-3)


def test_a_folder_without_audio_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = cohort_recipe.main(["--audio", str(tmp_path), "--output", str(tmp_path / "out")])
    assert code == 1
    assert "no audio file" in capsys.readouterr().err
