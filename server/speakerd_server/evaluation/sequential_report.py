"""Sequential boundaries for people: the table of the page, and the words around it."""

from __future__ import annotations

from collections.abc import Iterator

from speakerd_server.evaluation.bootstrap import Interval
from speakerd_server.evaluation.page import Cell, escaped, heading, picture, table
from speakerd_server.evaluation.sequential import Learnt, Rate

TITLE = "Sequential decisions"
_ABOUT = (
    "A call is looked at after every window of net speech, and the first boundary that it crosses"
    " decides for good. Rates are of whole calls, on persons left out of the fit: impostor calls"
    " that were ever accepted, and true speakers' calls that were ever rejected, within the"
    " maximum. Ranges hold the true value with 95 %: by drawing speakers, and never narrower than"
    " Clopper and Pearson's over what is independent, pairs of persons and persons."
)
_CAPTION = (
    "Boundaries over net speech, with paths of genuine and of impostor calls; where reject and"
    " accept lie on each other, every call is decided at its first look there."
)


def lines_of(learnt: Learnt) -> Iterator[str]:
    """Give what was learnt from, and what the data can support, sentence by sentence."""
    yield (
        f"Learnt from {learnt.target_calls} calls of {learnt.persons} speakers and"
        f" {learnt.impostor_calls} impostor calls of {learnt.impostor_pairs} pairs of persons;"
        f" measured on persons left out, in {learnt.folds} fits."
    )
    yield (
        f"So many pairs support false-accept rates of {percent(learnt.smallest_far)} and above (the"
        " rule of three, on the smallest fit)."
    )
    if learnt.target_frr < learnt.smallest_frr:
        yield (
            f"The false-reject rate is an indication, no more: {learnt.persons} speakers support"
            f" {percent(learnt.smallest_frr)} and above."
        )


def parts(learnt: Learnt, svg: str) -> Iterator[str]:
    """Give the part of a page: heading, table and picture."""
    yield heading(TITLE, _ABOUT)
    for line in lines_of(learnt):
        yield f'<p class="lesser">{escaped(line)}</p>'
    yield ways_table(learnt)
    yield picture(svg, _CAPTION)


def ways_table(learnt: Learnt) -> str:
    """Give the table of ways to decide."""
    head = [
        "way",
        f"impostors ever accepted, wanted {percent(learnt.target_far)}",
        f"true speakers ever rejected, wanted {percent(learnt.target_frr)}",
        "still undecided",
        "net speech until the decision, s",
    ]
    rows = [
        [
            Cell(way.name),
            _rate(way.ever_accepted),
            _rate(way.ever_rejected),
            Cell(percent(way.undecided)),
            Cell(f"{way.seconds_mean:.2f}", f"90 %: {way.seconds_p90:.2f}"),
        ]
        for way in learnt.ways
    ]
    return table(head, rows)


def percent(share: float) -> str:
    """Give a share in percent, to three digits."""
    return f"{100 * share:.3g} %"


def around(found: Interval) -> str:
    """Give an interval of a share in percent."""
    return f"{100 * found.low:.2f} to {100 * found.high:.2f}"


def _rate(one: Rate) -> Cell:
    return Cell(percent(one.value), around(one.interval))
