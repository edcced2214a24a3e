from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from speakerd_server.errors import OutputUnusable
from speakerd_server.evaluation.embeddings import Embeddings
from speakerd_server.evaluation.score_files import score_file_name, write_scores
from speakerd_server.evaluation.scoring import normalise, score_trials
from speakerd_server.evaluation.trials import Trials
from speakerd_server.values import ScoreScale

TRIALS = Trials(
    Path("lists/vox1_O.kaldi"), ("a", "b", "c"), ("b", "c", "a"), np.array([True, False, False])
)


def embeddings(*rows: tuple[float, ...]) -> Embeddings:
    names = "abcdefg"[: len(rows)]
    return Embeddings(Path("x.scp"), tuple(names), np.array(rows, np.float32))


THREE = embeddings((3, 4), (6, 8), (-4, 3))
COHORT = embeddings((3, 4), (4, 3), (0, 2), (-1, 0))


def test_cosines_have_five_decimals_and_their_numbers_are_those_of_the_file() -> None:
    scored = score_trials(TRIALS, THREE)
    assert scored.scale is ScoreScale.COSINE
    assert scored.texts == ["1.00000", "0.00000", "0.00000"]
    assert scored.scores.tolist() == [1.0, 0.0, 0.0]
    third = embeddings((1, 1, 1), (1, 0, 0), (0, 1, 0))
    assert score_trials(TRIALS, third).scores.tolist() == [0.57735, 0.0, 0.57735]


def test_normalised_scores_worked_by_hand() -> None:
    # Cosines to the cohort: a and b 1, 0.96, 0.8, -0.6; c 0, -0.28, 0.6, 0.8. Of the top two, a and
    # b have the mean 0.98 and deviation 0.02, c 0.7 and 0.1.
    cosines = score_trials(TRIALS, THREE)
    found = normalise(TRIALS, cosines, THREE, COHORT, 2)
    assert found.scale is ScoreScale.ASNORM
    assert found.scores == pytest.approx([1.0, -28.0, -28.0], abs=1e-3)
    assert found.sides is not None
    assert found.sides.enroll_length.tolist() == [5, 10, 5]
    assert found.sides.test_mean == pytest.approx([0.98, 0.7, 0.98])


def test_more_trials_than_are_gathered_at_once_are_all_scored() -> None:
    count = 40_000
    generator = np.random.default_rng(0)
    names = tuple(f"u{number}" for number in range(50))
    values = generator.standard_normal((50, 16)).astype(np.float32)
    enroll, test = generator.integers(0, 50, (2, count))
    trials = Trials(
        Path("t"),
        tuple(names[row] for row in enroll),
        tuple(names[row] for row in test),
        enroll == test,
    )
    found = score_trials(trials, Embeddings(Path("x"), names, values)).scores
    unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    assert np.abs(found - (unit @ unit.T)[enroll, test]).max() < 1e-5


def test_score_files_are_wespeakers(tmp_path: Path) -> None:
    cosines = score_trials(TRIALS, THREE)
    path = tmp_path / "scores" / score_file_name(TRIALS)
    write_scores(path, TRIALS, cosines)
    assert path.name == "vox1_O.kaldi.score"
    assert path.read_text() == "a b 1.00000 target\nb c 0.00000 nontarget\nc a 0.00000 nontarget\n"
    write_scores(path, TRIALS, normalise(TRIALS, cosines, THREE, COHORT, 2))
    assert [len(line.split()) for line in path.read_text().splitlines()] == [8, 8, 8]
    assert path.read_text().splitlines()[0].split()[3:] == [
        *("target", "5.0000", "10.0000", "0.9800", "0.9800")
    ]
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_a_score_file_is_named_for_cut_and_norm() -> None:
    assert score_file_name(TRIALS, "0.5 s") == "vox1_O.kaldi_0.5s.score"
    assert score_file_name(TRIALS, "2 s", "asnorm300") == "vox1_O.kaldi_2s_asnorm300.score"


def test_a_folder_that_cannot_be_made_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputUnusable, match="file"):
        write_scores(tmp_path / "file" / "x.score", TRIALS, score_trials(TRIALS, THREE))


def test_a_score_file_that_cannot_be_written_leaves_nothing_beside_it(tmp_path: Path) -> None:
    (tmp_path / "x.score").mkdir()
    with pytest.raises(OutputUnusable, match=r"x\.score"):
        write_scores(tmp_path / "x.score", TRIALS, score_trials(TRIALS, THREE))
    assert [one.name for one in tmp_path.iterdir()] == ["x.score"]
