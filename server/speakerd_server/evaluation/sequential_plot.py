"""The picture of boundaries with the paths of calls."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from speakerd_server.evaluation.drawing import LIGHT, styled
from speakerd_server.evaluation.sequential import Learnt

_MOST_PATHS = 80
"""Of a kind; of more, every so manyth is drawn."""


def boundaries_figure(learnt: Learnt) -> Figure:
    """Draw both boundaries over the seconds of net speech, and paths of both kinds."""
    with styled():
        figure = Figure(figsize=(6.4, 4.0), layout="constrained")
        axes = figure.add_subplot()
        target = learnt.paths.target
        for kept, colour, label in (
            (~target, LIGHT["s1"], "impostor calls"),
            (target, LIGHT["s0"], "genuine calls"),
        ):
            rows = _some(np.flatnonzero(kept))
            for number, row in enumerate(rows.tolist()):
                axes.plot(
                    *_line(learnt, row),
                    color=colour,
                    linewidth=0.7,
                    alpha=0.45,
                    label=label if number == 0 else None,
                )
        seconds = np.arange(len(learnt.bounds.accept) + 1)
        for levels, colour, dashes, label in (
            (learnt.bounds.accept, LIGHT["s2"], "solid", "accept at or above"),
            (learnt.bounds.reject, LIGHT["ink"], "dashed", "reject below"),
        ):
            axes.stairs(
                levels, seconds, baseline=None, color=colour, linestyle=dashes, linewidth=2.0,
                label=label,
            )  # fmt: skip
        axes.set_xlim(0, seconds[-1])
        axes.set_xlabel("net speech, s")
        axes.set_ylabel("score, cosine")
        figure.legend(loc="outside upper left", ncols=4, alignment="left", fontsize=8)
        return figure


def _some(rows: NDArray[np.intp]) -> NDArray[np.intp]:
    return rows[:: max(1, -(-len(rows) // _MOST_PATHS))]


def _line(learnt: Learnt, row: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    seconds, scores = learnt.paths.seconds[row], learnt.paths.highest[row]
    looked = ~np.isnan(scores)
    return seconds[looked], scores[looked]
