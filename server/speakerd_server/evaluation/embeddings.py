"""The embeddings that trials name, and the mean that is taken off them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speakerd_server.errors import VectorsUnusable
from speakerd_server.evaluation.trials import Trials, check_known
from speakerd_server.offline.vectors import read_vectors

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Embeddings:
    """Embeddings by id, and where they come from."""

    source: Path
    """File of the embeddings, or the list of the recordings."""
    ids: tuple[str, ...]
    """Of the recordings; each is there once."""
    values: Floats
    """float32[n, dim], not length-normalised; float64 once a float64 mean was taken off."""
    seconds: NDArray[np.float64] | None = None
    """float64[n]: speech of each; None where it is not known."""

    @property
    def row(self) -> Mapping[str, int]:
        """Row of each id."""
        return {one: row for row, one in enumerate(self.ids)}

    def centred(self, mean: Floats | None) -> Embeddings:
        """Take a mean off, float32[dim] or float64[dim]; None: only check.

        Raises:
            VectorsUnusable: The mean has another length, or an embedding has no direction.
        """
        values = self.values
        if mean is not None:
            if mean.shape != values.shape[1:]:
                problem = f"they have {values.shape[1]} values, the mean has {mean.size}"
                raise VectorsUnusable(self.source, problem)
            values = values - mean
        with np.errstate(over="ignore"):
            squares = np.einsum("ij,ij->i", values, values)
        wrong = np.flatnonzero(~((squares > 0) & np.isfinite(squares)))
        if wrong.size:
            what = "without a direction (all zeros, or too large)"
            after = "" if mean is None else " after the mean is taken off"
            problem = f"{wrong.size} are {what}{after}, the first is {self.ids[wrong[0]]}"
            raise VectorsUnusable(self.source, problem)
        return replace(self, values=values)


def read_embeddings(path: Path, lists: Sequence[Trials]) -> Embeddings:
    """Read a file of embeddings and keep those that the trial lists name.

    Raises:
        VectorsUnusable: The file is damaged.
        ListInvalid: A trial names an id that is not in it, or a `.scp` is malformed.
    """
    vectors = read_vectors(path)
    for trials in lists:
        check_known(trials, frozenset(vectors.ids), path)
    named = frozenset(one for trials in lists for one in (*trials.enroll, *trials.test))
    kept = [row for row, one in enumerate(vectors.ids) if one in named]
    return Embeddings(path, tuple(vectors.ids[row] for row in kept), vectors.values[kept])


def read_cohort(path: Path, dim: int) -> Embeddings:
    """Read all embeddings of a cohort; raises VectorsUnusable unless they have `dim` values."""
    vectors = read_vectors(path)
    if vectors.values.shape[1] != dim:
        problem = f"they have {vectors.values.shape[1]} values, those of the trials {dim}"
        raise VectorsUnusable(path, problem)
    return Embeddings(path, vectors.ids, vectors.values)


def mean_of(path: Path) -> Floats:
    """Give the mean float32[dim] of a file's embeddings, added up in float32 as WeSpeaker does."""
    values = read_vectors(path).values
    mean: Floats = np.add.reduce(values, axis=0) / np.float32(len(values))
    return mean
