"""`speakerd model list` and `speakerd model show`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from speakerd_server.cli.ending import ends_plainly, one_line

if TYPE_CHECKING:
    from speakerd_server.cards import Card, SequentialBoundaries
    from speakerd_server.models.inspection import Listed, Port, Shown

_SOME_DAMAGED = 1


@click.command("list", short_help="List models and bundles.")
@click.option(
    "--models-folder",
    type=click.Path(path_type=Path),
    help="Also list the bundles NAME/VERSION of this folder.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON array.")
@ends_plainly
def list_models(models_folder: Path | None, as_json: bool) -> int:
    """List the models in the package, and those of a folder.

    A damaged bundle is listed with what is wrong; the exit code is 1 then.
    """
    from speakerd_server.models.choice import find_bundles, shipped_bundles
    from speakerd_server.models.inspection import look_at

    folders = [*shipped_bundles(), *(find_bundles(models_folder) if models_folder else ())]
    rows = [look_at(folder) for folder in folders]
    if as_json:
        click.echo(json.dumps([_line(row) for row in rows], indent=2))
    else:
        _table("", [_HEADINGS, *(_cells(row) for row in rows)])
    return _SOME_DAMAGED if any(row.problem for row in rows) else 0


@click.command("show", short_help="Show a bundle's card, file and calibration.")
@click.argument("model", metavar="NAME|FOLDER")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@ends_plainly
def show_model(model: str, as_json: bool) -> int:
    """Show all that a bundle says of itself, and whether its file is the one that its card means.

    Exit code 1 when it is not.
    """
    from speakerd_server.models.choice import find_bundle
    from speakerd_server.models.inspection import show

    shown = show(find_bundle(model))
    if as_json:
        click.echo(json.dumps(_document(shown), indent=2))
    else:
        _tell(shown)
    return _SOME_DAMAGED if shown.listed.problem else 0


_HEADINGS = ("name", "version", "dim", "precision", "size", "calibrated", "folder")


def _cells(row: Listed) -> Sequence[str]:
    if row.card is None:
        names = row.folder.parts[-2:]
        return (*names, "", "", _size(row.size_bytes), "", f"{row.folder}: {row.problem}")
    card = row.card
    where = f"{row.folder}: {row.problem}" if row.problem else str(row.folder)
    return (
        card.identity.name,
        card.identity.version,
        str(card.dim),
        card.precision,
        _size(row.size_bytes),
        "no" if card.accept_at is None else "yes",
        where,
    )


def _line(row: Listed) -> dict[str, Any]:
    card = row.card
    return {
        "name": card.identity.name if card else row.folder.parts[-2],
        "version": card.identity.version if card else row.folder.parts[-1],
        "dim": card.dim if card else None,
        "precision": card.precision if card else None,
        "size_bytes": row.size_bytes,
        "calibrated": card.accept_at is not None if card else None,
        "folder": str(row.folder),
        "problem": row.problem or None,
    }


def _document(shown: Shown) -> dict[str, Any]:
    from speakerd_server.models.boundaries import boundaries_table
    from speakerd_server.models.card import llr_table
    from speakerd_server.models.scale_tables import cohort_table, scales_table

    card = shown.card
    calibration = asdict(card.calibration)
    calibration["llr"] = [llr_table(row) for row in card.calibration.llr]
    calibration["scales"] = scales_table(card.calibration.scales)
    calibration["sequential"] = [boundaries_table(row) for row in card.calibration.sequential]
    return _line(shown.listed) | {
        "sample_rate_hz": card.sample_rate_hz,
        "samples_per_chunk": card.samples_per_chunk,
        "min_frames": card.min_frames,
        "licence": card.licence,
        "origin": card.origin,
        "sha256": card.sha256,
        "verified": not shown.listed.problem,
        "inputs": [asdict(port) for port in shown.inputs],
        "outputs": [asdict(port) for port in shown.outputs],
        "opset": shown.opset,
        "parameters": shown.parameters,
        "front_end": asdict(card.front_end) | {"fingerprint": card.identity.front_end},
        "calibration": {"scale": "cosine"} | calibration,
        "cohort": cohort_table(card.cohort) if card.cohort else None,
        "scales": [scale.value for scale in card.scales],
    }


def _tell(shown: Shown) -> None:
    listed, card = shown.listed, shown.card
    click.echo(one_line(f"{card.identity.name}/{card.identity.version}"))
    verified = f"NOT verified: {listed.problem}" if listed.problem else "verified"
    window_s = card.samples_per_chunk / card.sample_rate_hz
    rows = [
        ("folder", str(listed.folder)),
        ("licence", card.licence),
        ("origin", card.origin),
        ("sha256", f"{card.sha256} ({verified})"),
        ("file", _file(shown)),
        ("precision", card.precision),
        ("embedding", f"{card.dim} numbers"),
        (
            "window",
            f"{card.samples_per_chunk} samples ({window_s:g} s at {card.sample_rate_hz} Hz)",
        ),
        ("least", f"{card.min_frames} frames"),
        *(("input", _port(port)) for port in shown.inputs),
        *(("output", _port(port)) for port in shown.outputs),
    ]
    _table("  ", rows)
    click.echo(f"\nfront end {card.identity.front_end}")
    _table("  ", [(name, _number(value)) for name, value in asdict(card.front_end).items()])
    _tell_calibration(card)


def _tell_calibration(card: Card) -> None:
    from speakerd_server.models.card import llr_table
    from speakerd_server.models.scale_tables import scales_table

    calibration = card.calibration
    click.echo("\ncalibration, on the cosine scale")
    thresholds = [
        (name, "none" if value is None else f"{value:g}")
        for name, value in (("accept_at", card.accept_at), ("reject_below", card.reject_below))
    ]
    _table("  ", [*thresholds, ("trials", calibration.trials)])
    if calibration.measured:
        click.echo("\nmeasured with these thresholds")
        names = ("speech", "same", "other", "EER %", "FAR %", "FRR %")
        _table_of("  ", names, [asdict(row) for row in calibration.measured])
    if calibration.llr:
        click.echo("\nlog-likelihood ratios, by profile")
        rows = [llr_table(row) for row in calibration.llr]
        # Only what was fitted with durations says of which.
        known = max((list(row) for row in rows), key=len)
        # The sentence of any length comes last.
        keys = [*(key for key in known if key != "trials"), "trials"]
        _table_of("  ", keys, [{key: row.get(key, "-") for key in keys} for row in rows])
    if calibration.scales:
        click.echo("\nthresholds of other scales, whatever the bands")
        rows = scales_table(calibration.scales)
        _table_of("  ", list(rows[0]), rows)
    if card.cohort is not None:
        click.echo("\ncohort that asnorm is measured by")
        _table("  ", [(key, _number(value)) for key, value in asdict(card.cohort).items()])
    if calibration.sequential:
        click.echo("\nboundaries for sequential decisions, on the cosine scale")
        rows = [_sequential_row(one) for one in calibration.sequential]
        _table_of("  ", list(rows[0]), rows)


def _sequential_row(one: SequentialBoundaries) -> dict[str, Any]:
    return {
        "target_far": one.target_far,
        "target_frr": one.target_frr,
        "profile": one.profile,
        "maximum_s": one.maximum_s,
        "speakers": one.genuine_speakers,
        "pairs": one.impostor_pairs,
        "trials": one.trials,
    }


def _file(shown: Shown) -> str:
    facts = [_size(shown.listed.size_bytes)]
    if shown.opset is not None:
        facts.append(f"opset {shown.opset}")
    if shown.parameters is not None:
        facts.append(f"{shown.parameters / 1e6:.2f} M parameters")
    return ", ".join(facts)


def _port(port: Port) -> str:
    return f"{port.name} {port.kind}[{', '.join(map(str, port.shape))}]"


def _size(size_bytes: int | None) -> str:
    return "absent" if size_bytes is None else f"{size_bytes / 1e6:.1f} MB"


def _number(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _table_of(indent: str, names: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    cells = [[_number(value) for value in row.values()] for row in rows]
    _table(indent, [names, *cells])


def _table(indent: str, rows: Iterable[Sequence[str]]) -> None:
    """Print rows with aligned columns; the last column may be of any length."""
    rows = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    widths[-1] = 0
    for row in rows:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo(f"{indent}{line}".rstrip())
