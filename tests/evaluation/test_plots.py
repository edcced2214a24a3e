from __future__ import annotations

import re
from collections.abc import Sequence
from io import BytesIO
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread
from speakerd_server.evaluation import drawing, plots
from speakerd_server.evaluation.curves import DurationPoint, Panel, histograms, rate_curves
from speakerd_server.evaluation.evaluated import Evaluated
from speakerd_server.evaluation.metrics import equal_error_rate
from support.scored import made, wespeaker_scores


def panel(evaluated: Evaluated, label: str, threshold: float | None = 0.3) -> Panel:
    scores, target = evaluated.scores, evaluated.trials.target
    return Panel(
        label=label,
        curves=rate_curves(scores, target),
        spread=histograms(scores, target),
        scale=evaluated.scale,
        equal_error=equal_error_rate(scores, target).rate,
        threshold=threshold,
    )


def tiny() -> Evaluated:
    """Two trials: the fewest there can be."""
    whole = made(3, 2)
    rows = [int(np.argmax(whole.trials.target)), int(np.argmin(whole.trials.target))]
    kept = np.isin(np.arange(len(whole.scores)), rows)
    return Evaluated(
        trials=whole.trials.only(kept),
        scores=whole.scores[kept],
        scale=whole.scale,
        enroll_speaker=("p0", "p0"),
        test_speaker=("p0", "p1"),
        enroll_seconds=None,
        test_seconds=None,
        model=None,
    )


def every_figure(panels: Sequence[Panel]) -> list[Figure]:
    return [plots.det_figure(panels), plots.scores_figure(panels), plots.rates_figure(panels)]


def several(case: str) -> list[Evaluated]:
    match case:
        case "real":
            return [wespeaker_scores("raw"), wespeaker_scores("mean_removed_asnorm50")]
        case "no errors":
            return [made(apart=20)]
        case "nothing but errors":
            return [made(apart=-20)]
        case "two trials":
            return [tiny()]
        case _:
            return [made(seed=seed) for seed in range(11)]


@pytest.mark.parametrize(
    "case", ["real", "no errors", "nothing but errors", "two trials", "more than the colours"]
)
def test_every_picture_is_drawn_without_a_warning(case: str) -> None:
    panels = [panel(one, f"list {number}") for number, one in enumerate(several(case))]
    for figure in every_figure(panels):
        image = imread(BytesIO(drawing.as_png(figure)))
        assert image.shape[0] > 300
        assert image.shape[1] > 600
        # Something is drawn: a picture of nothing would be white alone.
        assert 0.002 < (image[:, :, :3].min(axis=2) < 0.9).mean() < 0.6


def test_the_curve_of_a_det_goes_through_the_equal_error_rate() -> None:
    one = panel(wespeaker_scores("raw"), "raw")
    (axes,) = plots.det_figure([one]).axes
    far, frr = axes.lines[1].get_data()
    dot = np.array(axes.lines[2].get_data()).ravel()
    assert dot[0] == dot[1] == pytest.approx(-2.01, abs=0.01)  # The deviate of 2.22 %.
    away = np.hypot(np.asarray(far) - dot[0], np.asarray(frr) - dot[1])
    assert away.min() < 0.05
    assert "EER 2.22 %" in drawing.as_svg(plots.det_figure([one]), "det")


def test_a_curve_without_errors_lies_inside_the_picture() -> None:
    (axes,) = plots.det_figure([panel(made(apart=20), "made")]).axes
    for values, (low, high) in zip(
        axes.lines[1].get_data(), (axes.get_xlim(), axes.get_ylim()), strict=True
    ):
        assert low < np.asarray(values).min() < high
    assert "EER 0.00 %" in drawing.as_svg(axes.figure, "det")  # type: ignore[arg-type]


def test_the_threshold_is_marked_and_named() -> None:
    one = panel(wespeaker_scores("raw"), "raw", threshold=0.31402)
    for figure in every_figure([one])[1:]:
        assert "threshold 0.31402" in drawing.as_svg(figure, "x")
        (axes,) = figure.axes
        assert any(
            np.array_equal(np.asarray(line.get_xdata()), [0.31402] * 2) for line in axes.lines
        )


@pytest.mark.parametrize("lists", [1, 3])
def test_a_picture_has_room_for_its_legends(lists: int) -> None:
    panels = [panel(made(seed=seed), f"list {seed}") for seed in range(lists)]
    for figure in every_figure(panels):
        drawing.as_png(figure)
        legends = [*figure.legends, *(axes.get_legend() for axes in figure.axes)]
        drawn = [legend.get_window_extent() for legend in legends if legend is not None]
        assert len(drawn) in (1, lists)
        for around in drawn:
            assert figure.bbox.y0 <= around.y0 < around.y1 <= figure.bbox.y1
            assert figure.bbox.x0 <= around.x0 < around.x1 <= figure.bbox.x1


def test_durations_show_their_intervals() -> None:
    points = [
        DurationPoint("1 s", 0.03, 0.01, 0.05, 100),
        DurationPoint("whole", 0.0, 0.0, 0.0, 120),
    ]
    figure = plots.durations_figure({"a": points, "b": points[1:]})
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1 s", "whole"]
    ends = axes.collections[0].get_segments()[0][:, 1]  # type: ignore[attr-defined]
    assert ends == pytest.approx([1.0, 5.0])


def test_a_name_that_is_no_plain_text_is_drawn_as_it_can_be() -> None:
    name = "a$\\frac$_<b>&\"'\n\x00 \udcff 中文 é"
    svg = drawing.as_svg(plots.det_figure([panel(made(), name)]), "det")
    ElementTree.fromstring(svg)
    assert "<b>" not in svg
    assert "a$\\frac$_&lt;b&gt;" in svg
    assert "é: EER" in svg


def test_an_svg_names_its_colours_and_keeps_its_ids_to_itself() -> None:
    figure = plots.scores_figure([panel(made(), "made")])
    one, other = (drawing.as_svg(figure, name) for name in ("one", "other"))
    assert one.startswith("<svg")
    assert not re.findall(r"#[0-9a-f]{6}", one)
    used = set(re.findall(r"var\(--(\w+)\)", one))
    assert used <= set(drawing.LIGHT) == set(drawing.DARK)
    assert {"ink", "s0", "s1"} <= used
    ids = [set(re.findall(r'\bid="([^"]+)"', svg)) for svg in (one, other)]
    assert not ids[0] & ids[1]
    for svg, own in zip((one, other), ids, strict=True):
        assert set(re.findall(r"(?:url\(|href=\")#([^)\"]+)", svg)) <= own
    assert "http" not in one
    assert one == drawing.as_svg(figure, "one")


def test_the_users_own_settings_of_matplotlib_are_left_alone_and_change_nothing() -> None:
    plain = drawing.as_png(plots.rates_figure([panel(made(), "made")]))
    with matplotlib.rc_context({"font.size": 30.0, "axes.facecolor": "red"}):
        before = dict(matplotlib.rcParams)
        assert drawing.as_png(plots.rates_figure([panel(made(), "made")])) == plain
        assert dict(matplotlib.rcParams) == before
