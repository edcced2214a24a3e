"""`speakerd evaluate`: trial lists scored and measured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from speakerd_server.cli.ending import ends_plainly
from speakerd_server.cli.evaluate_calibration import calibration_options, found_document, found_text
from speakerd_server.cli.evaluate_sequential import (
    sequential_document,
    sequential_options,
    sequential_text,
)
from speakerd_server.cli.options import model_option
from speakerd_server.cli.progress import progress
from speakerd_server.cli.reading import reading_options

if TYPE_CHECKING:
    from speakerd_server.cards import Card
    from speakerd_server.cli.evaluate_shown import Shown
    from speakerd_server.evaluation.further import Further
    from speakerd_server.evaluation.wanted import Wanted

PARTLY_DONE = 1

_FILE = click.Path(path_type=Path)


@click.command()
@click.option(
    "--trials",
    required=True,
    multiple=True,
    type=_FILE,
    help="`enroll test target|nontarget` or `1|0 enroll test` on each line; may be repeated.",
)
@click.option("--scp", type=_FILE, help="Embeddings: xvector.scp, or .ark, .npz, .txt.")
@click.option("--wav-scp", type=_FILE, help="Recordings to embed: `id path` on each line.")
@click.option("--wav-root", type=_FILE, help="Folder of relative paths in --wav-scp.")
@reading_options
@click.option("--samples-per-chunk", type=int, help="Window; -1: one. [default: the model's]")
@click.option(
    "--over-telephone",
    type=click.Choice(["calls", "both"]),
    help="Send the tested side, or the enrolled one too, over a simulated line: mu-law at 8 kHz;"
    " names the profile wide-narrow or narrow-narrow.",
)
@click.option("--threads", type=int, help="Recordings worked on at once. [default: 1]")
@model_option
@click.option("--mean-scp", type=_FILE, help="Embeddings whose mean is taken off all others.")
@click.option("--mean-vec", type=_FILE, help="Mean to take off, such as WeSpeaker's mean_vec.npy.")
@click.option("--cohort-scp", type=_FILE, help="Embeddings of impostors to normalise scores by.")
@click.option(
    "--norm",
    type=click.Choice(["asnorm", "snorm"]),
    help="By the most alike of the cohort, or by all of it. [default: asnorm]",
)
@click.option("--top-n", type=int, help="How many most alike of the cohort. [default: 300]")
@click.option("--utt2spk", type=_FILE, help="Who speaks; else told from the target trials.")
@click.option(
    "--p-target",
    type=float,
    multiple=True,
    help="Prior of a target in detection costs; may be repeated. [default: 0.01 and 0.005]",
)
@click.option("--c-miss", type=float, default=1.0, show_default=True, help="Cost of a miss.")
@click.option("--c-fa", type=float, default=1.0, show_default=True, help="Cost of a false accept.")
@click.option(
    "--durations",
    metavar="S,S,...",
    help="Measure with both sides cut to their middle S seconds too, as in 1,2,4,8.",
)
@click.option(
    "--bootstrap",
    type=int,
    default=1000,
    show_default=True,
    help="Draws of speakers for 95 % intervals; 0: none.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the draws.")
@click.option("--output", type=_FILE, help="Folder for score files, in WeSpeaker's format.")
@calibration_options
@sequential_options
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.pass_context
@ends_plainly
def evaluate(context: click.Context, /, as_json: bool, **given: Any) -> int:
    """Score trial lists: equal error rate, minDCF, Cllr, with intervals over speakers.

    Score files, AS-norm and metrics are those of WeSpeaker's score.py, score_norm.py and
    compute_metrics.py. Each list is measured alone. With --scp, --model only says what made the
    embeddings. Exit code 1 where a length of --durations leaves too few trials.
    """
    from speakerd_server.cli.evaluate_shown import as_document, as_text
    from speakerd_server.evaluation.further import Further, as_given, go_further
    from speakerd_server.evaluation.sequential_options import SequentialOptions
    from speakerd_server.evaluation.sequential_run import learn_boundaries
    from speakerd_server.evaluation.wanted import Wanted

    sequential = SequentialOptions.taken_from(given)
    further = Further.taken_from(given)
    # A default, or the daemon's setting, says nothing about embeddings that are already there.
    named = context.get_parameter_source("model") is ParameterSource.COMMANDLINE
    if given["scp"] is not None and not named:
        given["model"] = None
    wanted = Wanted(**given)
    sequential.check(wanted)
    shown, card = _evaluate(wanted, further)
    learnt = learn_boundaries(sequential, wanted, progress) if sequential.sequential else None
    rows = [row for one in shown for row in one.rows]
    bounds = learnt.learnt if learnt else None
    found = go_further(further, wanted, rows, card, bounds, " ".join(as_given(sequential)))
    if as_json:
        also = found_document(found) | (sequential_document(learnt) if learnt else {})
        click.echo(as_document(shown, wanted, also))
    else:
        texts = (as_text(shown, wanted), found_text(found))
        told = [*texts, sequential_text(learnt) if learnt else ""]
        click.echo("\n\n".join(filter(None, told)))
    unmeasured = any(row is None for one in shown for _, row in one.rows)
    return PARTLY_DONE if unmeasured or any(row.refused for row in found.rows) else 0


def _evaluate(wanted: Wanted, further: Further) -> tuple[list[Shown], Card | None]:
    """Score and measure each list; give the model's card too, where it is known."""
    from speakerd_server.cli.evaluate_shown import Shown
    from speakerd_server.evaluation.evaluating import evaluate_list
    from speakerd_server.evaluation.material import gather
    from speakerd_server.evaluation.measured import measure
    from speakerd_server.evaluation.over_telephone import as_heard
    from speakerd_server.evaluation.speakers import speakers_of
    from speakerd_server.evaluation.trials import read_trials

    wanted.check()
    further.check(wanted)
    calibrations = further.calibrations(wanted)
    lists = [read_trials(path) for path in wanted.trials]
    further.check_enough(lists)
    speakers = [speakers_of([trials], wanted.utt2spk) for trials in lists]
    material = gather(wanted, lists, progress)
    card = material.card
    shown = []
    for trials, persons in zip(lists, speakers, strict=True):
        results = evaluate_list(
            *as_heard(trials, persons, wanted.over_telephone),
            material.embeddings,
            mean=material.mean,
            cohort=material.cohort,
            model=card.identity if card else None,
            output=wanted.output,
        )
        rows = []
        for one in results:
            measured = measure(
                one,
                wanted.applications,
                draws=wanted.bootstrap,
                seed=wanted.seed,
                calibration=further.choose(calibrations, one, wanted.over_telephone),
            )
            rows.append((one, measured))
        shown.append(Shown(trials, rows))
    return shown, card
