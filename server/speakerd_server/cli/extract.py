"""`speakerd extract`: the recordings of a wav.scp -> one file of embeddings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from speakerd_server.cli.ending import NOT_DONE, ends_plainly
from speakerd_server.cli.options import model_option
from speakerd_server.cli.progress import progress
from speakerd_server.cli.reading import reading, reading_options

if TYPE_CHECKING:
    from speakerd_server.errors import SpeakerdError
    from speakerd_server.offline.embedding import Embedded, Extractor
    from speakerd_server.offline.extraction import Totals
    from speakerd_server.offline.lists import Listed

DONE_IN_PART = 1


@click.command()
@click.option(
    "--wav-scp",
    type=click.Path(path_type=Path),
    required=True,
    help="List of recordings: `id path` on each line.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="File to write: .txt (id and values), .ark (with a .scp beside it) or .npz.",
)
@click.option("--wav-root", type=click.Path(path_type=Path), help="Folder of relative paths.")
@model_option
@click.option(
    "--samples-per-chunk",
    type=int,
    help="Window length at the model's rate; -1: one window over each recording."
    " [default: the model's]",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="Recordings at once, each on one core. [default: every core]",
)
@reading_options
@click.option("--overwrite", is_flag=True, help="Replace an output; forget another begun job.")
@click.option("--json", "as_json", is_flag=True, help="Print the totals as one JSON document.")
@ends_plainly
def extract(
    wav_scp: Path,
    output: Path,
    wav_root: Path | None,
    model: str,
    samples_per_chunk: int | None,
    threads: int | None,
    channel: int | None,
    raw: str | None,
    overwrite: bool,
    as_json: bool,
) -> int:
    """Embed the recordings of a list into one file, in the list's order.

    A recording that cannot be embedded is named on stderr and left out. A run that was ended goes
    on when the same command is given again. Exit code 0: every recording is in the output, 1:
    some are not, 2: nothing was written.
    """
    from speakerd_server.models.bundle import load_bundle
    from speakerd_server.models.choice import find_bundle
    from speakerd_server.offline.embedding import Extractor, usable_cores
    from speakerd_server.offline.extraction import check_output
    from speakerd_server.offline.lists import read_wav_scp

    check_output(output, wav_scp)
    read = reading(channel, raw)
    recordings = read_wav_scp(wav_scp, wav_root)
    extractor = Extractor(
        load_bundle(find_bundle(model)),
        samples_per_chunk=samples_per_chunk,
        threads=min(threads or usable_cores(), len(recordings)),
        reading=read,
    )
    totals = _extract(recordings, extractor, output, overwrite)
    click.echo(_shown(totals, extractor, output), err=True)
    if as_json:
        click.echo(json.dumps(_document(totals, extractor, output), indent=2))
    if not totals.embedded:
        return NOT_DONE
    return DONE_IN_PART if totals.failures else 0


def _extract(
    recordings: tuple[Listed, ...], extractor: Extractor, output: Path, overwrite: bool
) -> Totals:
    from speakerd_server.errors import SpeakerdError
    from speakerd_server.offline.extraction import extract

    with progress(len(recordings), "embedding") as step:

        def notice(listed: Listed, outcome: Embedded | SpeakerdError) -> None:
            if isinstance(outcome, SpeakerdError):
                click.echo(f"speakerd: {listed.id}: {outcome} [{outcome.reason}]", err=True)
            step(1)

        try:
            return extract(recordings, extractor, output, overwrite=overwrite, notice=notice)
        except KeyboardInterrupt:
            kept = f"what is done is in {output}.partial; the same command goes on from it"
            click.echo(f"speakerd: {kept}", err=True)
            raise


def _shown(totals: Totals, extractor: Extractor, output: Path) -> str:
    """Say what was done, in one line."""
    left_out = f" ({len(totals.failures)} could not be)" if totals.failures else ""
    resumed = f", {totals.resumed} of them by an earlier run" if totals.resumed else ""
    if not totals.embedded:
        return f"none of {totals.recordings} recordings could be embedded; nothing was written"
    rtf = f"; RTF {totals.rtf:.4f}" if totals.rtf is not None else ""
    return (
        f"{totals.embedded} of {totals.recordings} recordings embedded into {output}{left_out}"
        f"{resumed}: {totals.audio_s:.1f} s of audio, {totals.windows} windows;"
        f" {totals.processing_s:.2f} s on {extractor.threads} thread(s){rtf}"
    )


def _document(totals: Totals, extractor: Extractor, output: Path) -> dict[str, object]:
    failed = [
        {
            "id": failure.listed.id,
            "path": str(failure.listed.path),
            "line": failure.listed.line,
            "reason": failure.error.reason,
            "message": str(failure.error),
        }
        for failure in totals.failures
    ]
    return {
        "output": str(output) if totals.embedded else None,
        "model": str(extractor.card.identity),
        "samples_per_chunk": extractor.samples_per_chunk,
        "threads": extractor.threads,
        "recordings": totals.recordings,
        "embedded": totals.embedded,
        "resumed": totals.resumed,
        "windows": totals.windows,
        "audio_s": round(totals.audio_s, 6),
        "new_audio_s": round(totals.new_audio_s, 6),
        "processing_s": round(totals.processing_s, 6),
        "rtf": None if totals.rtf is None else round(totals.rtf, 6),
        "failed": failed,
    }
