"""The same embeddings, the same trials: WeSpeaker's score files and metrics, to the digit."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from click.testing import CliRunner
from speakerd_server.cli.app import speakerd
from speakerd_server.evaluation.embeddings import mean_of
from speakerd_server.evaluation.metrics import equal_error_rate, minimum_cost
from speakerd_server.models.mean import read_mean
from support.shared import shared_path

FILES = {
    "raw": ("raw.score", []),
    "mean": ("mean_removed.score", ["mean"]),
    "asnorm": ("mean_removed_asnorm50.score", ["mean", "cohort"]),
}
"""Expected file, and what WeSpeaker was given."""


def reference(name: str) -> Path:
    return shared_path(f"reference/wespeaker_scores/{name}")


def evaluated(output: Path, parts: list[str], *more: str) -> None:
    options = ["--scp", str(reference("xvector.scp")), "--bootstrap", "0", *more]
    if "mean" in parts:
        options += ["--mean-vec", str(reference("mean_vec.npy"))]
    if "cohort" in parts:
        options += ["--cohort-scp", str(reference("cohort.scp")), "--top-n", "50"]
    trials = shared_path("data/trials/all_pairs.txt")
    result = CliRunner().invoke(
        speakerd, ["evaluate", "--trials", str(trials), "--output", str(output), *options]
    )
    assert result.exit_code == 0, result.output


def same_kernels() -> bool:
    """Whether float32 products are summed here in the order in which the reference was made."""
    flags = Path("/proc/cpuinfo")
    chosen = "OPENBLAS_CORETYPE" in os.environ  # of OpenBLAS, which then has others for the sums
    return not chosen and flags.exists() and "avx512f" in flags.read_text()


@pytest.mark.parametrize("made", FILES)
def test_score_files_are_wespeakers_byte_for_byte(tmp_path: Path, made: str) -> None:
    name, parts = FILES[made]
    evaluated(tmp_path, parts)
    norm = "_asnorm50" if made == "asnorm" else ""
    found = (tmp_path / f"all_pairs.txt{norm}.score").read_bytes()
    expected = reference(name).read_bytes()
    if same_kernels():
        assert found == expected
    rows = list(zip(found.splitlines(), expected.splitlines(), strict=True))
    different = [(one.split(), other.split()) for one, other in rows if one != other]
    assert len(different) <= 0.02 * len(rows)
    for one, other in different:
        assert [*one[:2], *one[3:]] == [*other[:2], *other[3:]]
        assert abs(float(one[2]) - float(other[2])) < 1.5e-5


def test_a_normalised_file_has_the_cosines_beside_it(tmp_path: Path) -> None:
    evaluated(tmp_path / "both", ["mean", "cohort"])
    evaluated(tmp_path / "one", ["mean"])
    both, one = (tmp_path / name / "all_pairs.txt.score" for name in ("both", "one"))
    assert both.read_bytes() == one.read_bytes()


def test_the_mean_of_a_list_is_wespeakers_mean_vec() -> None:
    mean = mean_of(reference("cohort.scp"))
    assert np.array_equal(mean, read_mean(reference("mean_vec.npy")))


def columns(path: Path) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    rows = [line.split() for line in path.read_text().splitlines()]
    return np.array([float(row[2]) for row in rows]), np.array([row[3] == "target" for row in rows])


def test_metrics_are_wespeakers_to_the_printed_digit() -> None:
    printed = re.findall(
        r"---- (\S+) -----\nEER = (\S+)\nminDCF \(p_target:(\S+) c_miss:1 c_fa:1\) = (\S+)\n",
        reference("metrics.txt").read_text(),
    )
    assert len(printed) == 6
    for name, percent, p_target, cost in printed:
        scores, target = columns(reference(name))
        assert f"{100 * equal_error_rate(scores, target).rate:.3f}" == percent
        assert f"{minimum_cost(scores, target, p_target=float(p_target)):.3f}" == cost
