"""Options of `speakerd evaluate --sequential`, and its answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from speakerd_server.evaluation.sequential import Rate, Way
    from speakerd_server.evaluation.sequential_run import Found

F = TypeVar("F", bound=Callable[..., Any])

_FILE = click.Path(path_type=Path)
_OPTIONS = (
    click.option(
        "--sequential",
        is_flag=True,
        help="Learn boundaries for decisions in live calls, by --target-far and --target-frr of"
        " whole calls that are joined from the recordings; measured on speakers left out.",
    ),
    click.option(
        "--target-frr",
        type=float,
        metavar="RATE",
        help="Share of the true speakers' calls that may ever be rejected, such as 0.05.",
    ),
    click.option("--cohort-wav-scp", type=_FILE, help="Recordings of other people, one of each."),
    click.option(
        "--maximum-speech", type=int, metavar="S", help="Net speech of a call. [default: 20]"
    ),
    click.option(
        "--enroll-speech", type=float, metavar="S", help="Least audio enrolled. [default: 10]"
    ),
    click.option(
        "--rounds", type=int, help="Times that recordings are dealt to calls. [default: 6]"
    ),
    click.option("--all-audio", is_flag=True, help="Hear everything, not speech alone."),
    click.option(
        "--boundaries-output", type=_FILE, help="Write the boundaries to this file (TOML)."
    ),
)


def sequential_options(command: F) -> F:
    """Give a command the options of `evaluation.sequential_options.SequentialOptions`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def sequential_document(found: Found) -> dict[str, Any]:
    """Give what came of it for JSON; rates in percent."""
    from speakerd_server.models.boundaries import boundaries_table

    learnt = found.learnt
    return {
        "sequential": {
            "boundaries": boundaries_table(found.boundaries),
            "speakers": learnt.persons,
            "calls": learnt.target_calls,
            "impostor_calls": learnt.impostor_calls,
            "impostor_pairs": learnt.impostor_pairs,
            "smallest_far_percent": 100 * learnt.smallest_far,
            "smallest_frr_percent": 100 * learnt.smallest_frr,
            "left_out_fits": learnt.folds,
            "ways": [_way_document(way) for way in learnt.ways],
            "written": [str(path) for path in found.written],
        }
    }


def _way_document(way: Way) -> dict[str, Any]:
    return {
        "way": way.name,
        "ever_accepted_percent": 100 * way.ever_accepted.value,
        "ever_accepted_interval_percent": [100 * end for end in way.ever_accepted.interval],
        "ever_rejected_percent": 100 * way.ever_rejected.value,
        "ever_rejected_interval_percent": [100 * end for end in way.ever_rejected.interval],
        "undecided_percent": 100 * way.undecided,
        "decided_after_mean_s": way.seconds_mean,
        "decided_after_p90_s": way.seconds_p90,
        "impostors_decided_after_mean_s": way.impostor_seconds_mean,
    }


def sequential_text(found: Found) -> str:
    """Give what came of it for people."""
    return "\n".join(_lines(found))


def _lines(found: Found) -> Iterator[str]:
    from speakerd_server.evaluation.sequential_report import lines_of, percent

    learnt, written = found.learnt, found.boundaries
    yield (
        f'Sequential decisions "{written.profile}", {written.scale.value}: impostors ever accepted'
        f" {percent(learnt.target_far)}, true speakers ever rejected {percent(learnt.target_frr)},"
        f" within {written.maximum_s} s of net speech"
    )
    yield from (f"  {line}" for line in lines_of(learnt))
    width = max(len(way.name) for way in learnt.ways)
    yield f"  {'':{width}}  {'ever accepted':24}  {'ever rejected':24}  net speech, mean and p90"
    for way in learnt.ways:
        rates = f"{_rate(way.ever_accepted):24}  {_rate(way.ever_rejected):24}"
        yield (f"  {way.name:{width}}  {rates}  {way.seconds_mean:.2f} s, {way.seconds_p90:.2f} s")
    yield f"  {'second':>8}  {'accept':>8}  {'reject':>8}"
    for second, (accept, reject) in enumerate(zip(written.accept, written.reject, strict=True)):
        yield f"  {second:8}  {accept:8.5f}  {reject:8.5f}"
    yield from (f"  Written: {path}" for path in found.written)


def _rate(one: Rate) -> str:
    from speakerd_server.evaluation.sequential_report import around, percent

    return f"{percent(one.value)} ({around(one.interval)})"
