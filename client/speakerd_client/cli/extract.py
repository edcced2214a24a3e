"""speakerctl extract: the embeddings of a list of recordings as Kaldi's ark and scp."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from speakerd_client.blocking import Client
from speakerd_client.cli import options, render
from speakerd_client.errors import InvalidList, OutputUnusable, SpeakerdError
from speakerd_client.extracting import DEFAULT_JOBS, MOST_JOBS, ExtractedRecording
from speakerd_client.kaldi import ListedRecording, pair_files, read_wav_scp
from speakerd_client.results import ModelIdentity

NOT_DONE = 2
EXITS = (
    "Exits with 0 done, 1 done but for recordings named on standard error, 2 not done (the list or"
    " the output folder is not usable), 3 error, 130 interrupted."
)
_ANSWER_S = 900.0
"""Ten minutes of audio, with as many other jobs, on a slow core."""

WavScp = Annotated[
    Path | None,
    typer.Option("--wav-scp", help="List: an id and the path of an audio file on each line."),
]
AudioFile = Annotated[
    str | None,
    typer.Option("--audio-file", help="One audio file, its name the id, in place of a list."),
]
OutputDirectory = Annotated[
    Path, typer.Option("--output-directory", help="Folder for xvector_000.ark, .scp, ...")
]
DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Folder that relative paths are below.")
]
Jobs = Annotated[
    int,
    typer.Option(
        "--jobs",
        min=1,
        max=MOST_JOBS,
        help="Recordings under way at once, and pairs of files: one for each part of the list.",
    ),
]
Overwrite = Annotated[
    bool,
    typer.Option("--overwrite", help="Replace finished output; begin anew instead of going on."),
]
Json = Annotated[bool, typer.Option("--json", help="Totals and failures as JSON.")]


@dataclass(slots=True)
class Totals:
    """What a run has done so far."""

    listed: int
    """Recordings of the list."""
    finished: int = 0
    """Of them, those of an interrupted run and those refused included."""
    seen: int = 0
    """Finished by this run."""
    audio_s: float = 0.0
    """Audio embedded by this run."""
    failures: list[dict[str, str]] = field(default_factory=list)
    """Recordings without an embedding, and why."""
    model: ModelIdentity | None = None
    """What made the embeddings of this run."""

    def add(self, item: ExtractedRecording) -> None:
        """Count one recording; one that is refused is named at once."""
        self.seen += 1
        self.finished = item.finished
        if item.embedding is not None:
            self.audio_s += item.audio_s
            self.model = item.embedding.model
            return
        if item.error is None:
            return
        name, path = item.recording.recording_id, str(item.recording.path)
        text = render.error_text(item.error).removeprefix(f"{path}: ")
        render.complain(f"{name}: {path}: {text}")
        reason = item.error.reason or type(item.error).__name__
        self.failures.append(
            {"recording_id": name, "path": path, "reason": reason, "message": item.error.message}
        )


def extract(
    output_directory: OutputDirectory,
    wav_scp: WavScp = None,
    audio_file: AudioFile = None,
    data_dir: DataDir = None,
    jobs: Jobs = DEFAULT_JOBS,
    model: options.ModelName = "",
    samples_per_chunk: options.SamplesPerChunk = None,
    channel: options.Channel = None,
    overwrite: Overwrite = False,
    address: options.Address = options.ADDRESS,
    in_json: Json = False,
) -> int:
    """Embed a list of recordings; write the embeddings as Kaldi's ark and scp.

    Recordings are embedded whole. One that cannot be is named and the others go on. Interrupted,
    the same command goes on from there.
    """
    begin_s = time.monotonic()
    try:
        recordings = _recordings(wav_scp, audio_file, data_dir)
        totals = Totals(len(recordings))
        with Client(address, timeout_s=_ANSWER_S) as client:
            items = client.extract(
                recordings,
                output_directory,
                jobs=jobs,
                model=model,
                samples_per_chunk=samples_per_chunk,
                channel=channel,
                overwrite=overwrite,
            )
            _follow(items, totals)
            places = {each.recording_id: at for at, each in enumerate(recordings)}
            totals.failures.sort(key=lambda failure: places[failure["recording_id"]])
    except (InvalidList, OutputUnusable) as error:
        render.complain(render.error_text(error))
        return NOT_DONE
    _say_totals(totals, output_directory, time.monotonic() - begin_s, in_json)
    return 1 if totals.failures else 0


def _recordings(
    wav_scp: Path | None, audio_file: str | None, data_dir: Path | None
) -> Sequence[ListedRecording]:
    """Read the list, or make one of a single file."""
    if (wav_scp is None) == (audio_file is None):
        raise typer.BadParameter("give either --wav-scp or --audio-file")
    if wav_scp is not None:
        return read_wav_scp(wav_scp, data_dir)
    try:
        return [ListedRecording(str(audio_file), (data_dir or Path()) / str(audio_file))]
    except ValueError as error:
        raise InvalidList(f"--audio-file: {error}; give a list with an id of its own") from error


def _follow(items: Iterable[ExtractedRecording], totals: Totals) -> None:
    """Count what comes, a bar on a terminal; whatever ends it, what is kept is told."""
    errors = Console(stderr=True)
    bar = Progress(console=errors, transient=True, disable=not errors.is_terminal)
    try:
        with bar:
            task = bar.add_task("extracting", total=totals.listed)
            for item in items:
                totals.add(item)
                bar.update(task, completed=totals.finished)
    except (KeyboardInterrupt, SpeakerdError):
        kept = totals.finished - len(totals.failures)
        if kept:
            render.complain(
                f"{kept} of {totals.listed} recordings are done and kept; the same command goes on"
                " from there"
            )
        raise


def _say_totals(totals: Totals, folder: Path, wall_s: float, in_json: bool) -> None:
    extracted = totals.listed - len(totals.failures)
    rtf = wall_s / totals.audio_s if totals.audio_s else None
    lists = [str(path.absolute()) for path in pair_files(folder) if path.suffix == ".scp"]
    lists = lists if extracted else []
    if in_json:
        facts = {
            "listed": totals.listed,
            "extracted": extracted,
            "resumed": totals.listed - totals.seen,
            "failures": totals.failures,
            "audio_s": totals.audio_s,
            "wall_s": wall_s,
            "rtf": rtf,
            "model": totals.model,
            "lists": lists,
        }
        render.say(render.as_json(facts))
        return
    resumed = totals.listed - totals.seen
    text = f"EXTRACTED  {extracted} of {totals.listed} recordings"
    if resumed:
        text += f" ({resumed} by an earlier run)"
    text += f"  {totals.audio_s:.1f} s of audio in {wall_s:.1f} s"
    text += f"  RTF {rtf:.4f}" if rtf is not None else ""
    render.say(text)
    if lists:
        render.say(render.printable(f"{lists[0]} ... {len(lists)} pair{'s' * (len(lists) != 1)}"))
