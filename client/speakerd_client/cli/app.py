"""The commands of speakerctl and their exit codes."""

from __future__ import annotations

import importlib.metadata
import io
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track

from speakerd_client.audio import read_audio
from speakerd_client.blocking import Client
from speakerd_client.cli import groups, models, options, render, sound, speakers
from speakerd_client.cli.daemon import WAIT_EXITS, drain, resume, status
from speakerd_client.cli.extract import EXITS, extract
from speakerd_client.cli.live import follow, last
from speakerd_client.cli.load import EXITS as LOAD_EXITS
from speakerd_client.cli.load import NOT_STARTED, load
from speakerd_client.cli.sessions import sessions
from speakerd_client.errors import SpeakerdError, Unavailable
from speakerd_client.records import EnrollFeedback, Enrollment
from speakerd_client.results import Verification
from speakerd_client.targets import Everyone, MembersOf

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help=(
        "Talk to a speakerd daemon: enrol speakers, verify and identify voices, operate it.\n\n"
        "Exit codes of verify and identify: 0 accept, 1 reject, 2 no answer (undecided, not enough"
        " speech, not enrolled, ...). Of every command: 0 done, 3 error, with the reason on"
        " standard error, 130 interrupted."
    ),
)
app.add_typer(speakers.app, name="speakers")
app.add_typer(groups.app, name="groups")
app.add_typer(models.app, name="models")

_EXITS = "Exits with 0 accept, 1 reject, 2 no answer, 3 error, 130 interrupted."
_USAGE_CODES = {"load": NOT_STARTED}
"""Of the commands for which a wrong option is not an error like any other."""
_PIECE_MS = 1000
_ONE_UPDATE_S = 3600.0
SpeakerId = Annotated[str, typer.Argument(metavar="ID", help="Id of the speaker.")]


def _say_version(wanted: bool) -> None:
    if wanted:
        render.say(f"speakerctl {importlib.metadata.version('speakerd-client')}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_say_version, help="Say it and exit."),
    ] = False,
) -> None:
    """Take what comes before the command."""


@app.command()
def enroll(
    speaker_id: SpeakerId,
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="One recording each.")],
    address: options.Address = options.ADDRESS,
    domain: options.Domain = "",
    samples_per_chunk: options.SamplesPerChunk = None,
    gate: options.Gate = None,
    minimum_speech: options.NeededSpeech = None,
    name: Annotated[str | None, typer.Option("--name", help="New display name.")] = None,
    channel: options.Channel = None,
    force: Annotated[
        bool, typer.Option("--force", help="Store it though other people seem to speak in it.")
    ] = False,
    check_duplicates: Annotated[
        bool, typer.Option("--check-duplicates", help="Say who else has this voice.")
    ] = False,
    consent: options.Consent = None,
    in_json: options.Json = False,
) -> int:
    """Add recordings to a speaker, who is created where new.

    A file that is refused is named and the others go on; the exit code is then 3.
    """
    refused = 0
    agreed = options.consent_of(consent)
    errors = Console(stderr=True)
    silent = len(files) == 1 or not errors.is_terminal
    with Client(address) as client:
        for path in track(files, "enrolling", console=errors, disable=silent, transient=True):
            try:
                audio = read_audio(path, channel)
                steps = client.enroll_stream(
                    speaker_id,
                    audio.pieces(_PIECE_MS),
                    audio.format,
                    domain=domain,
                    samples_per_chunk=samples_per_chunk,
                    speech_gate=gate,
                    minimum_speech_s=minimum_speech,
                    display_name=name,
                    force=force,
                    check_duplicates=check_duplicates,
                    consent=agreed,
                )
                result = last(steps)
            except Unavailable:
                raise
            except SpeakerdError as error:
                refused += 1
                render.complain(f"{path}: {render.error_text(error).removeprefix(f'{path}: ')}")
                continue
            assert isinstance(result, Enrollment)
            _say_enrolled(path, result, in_json)
    return render.FAILED if refused else 0


def _say_enrolled(path: Path, result: Enrollment, in_json: bool) -> None:
    render.say(render.as_json(result) if in_json else render.enrollment_text(str(path), result))
    if result.feedback is not EnrollFeedback.OK:
        render.complain(f"warning: {path}: {result.reason}")
    for other in result.duplicates:
        alike = f"{other.speaker_id} has this voice as well, cosine {other.cosine:.3f}"
        render.complain(f"warning: {path}: {alike}")


@app.command(epilog=_EXITS)
def verify(
    speaker_id: SpeakerId,
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="Recording; -: raw audio.")],
    address: options.Address = options.ADDRESS,
    domain: options.Domain = "",
    samples_per_chunk: options.SamplesPerChunk = None,
    gate: options.Gate = None,
    accept_at: options.AcceptAt = None,
    scale: options.Scale = None,
    minimum_speech: options.MinimumSpeech = None,
    sequential: options.Sequential = None,
    watchlist: options.Watchlist = None,
    hit_at: options.HitAt = None,
    message_ms: options.MessageMs = 100,
    realtime: Annotated[
        bool, typer.Option("--realtime", help="Send the audio at the pace of a call.")
    ] = False,
    channel: options.Channel = None,
    encoding: options.RawEncoding = None,
    rate: options.RawRate = None,
    raw_channels: options.RawChannels = None,
    opus: options.Opus = False,
    in_json: options.Json = False,
) -> int:
    """Verify live that a voice is the one it claims to be; a live view on a terminal."""
    lists = options.watchlists_of(watchlist, hit_at)
    raw = sound.Raw(encoding, rate, raw_channels)
    wire_format, pieces = sound.of(file, message_ms, realtime, channel, raw, opus)
    with Client(address) as client:
        updates = client.verify_stream(
            speaker_id,
            pieces,
            wire_format,
            domain=domain,
            samples_per_chunk=samples_per_chunk,
            speech_gate=gate,
            policy=options.policy_of(scale, accept_at, minimum_speech, sequential),
            watchlists=lists,
        )
        final = follow(updates, speaker_id, Console(), in_json)
    if not in_json:
        render.say(render.verification_text(speaker_id, final))
    return _exit_code(final)


@app.command(epilog=_EXITS)
def identify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Recording.")],
    top: Annotated[int, typer.Option("--top", min=1, max=100, help="Speakers to show.")] = 5,
    group: Annotated[
        str | None, typer.Option("--group", help="Look among the members of this group alone.")
    ] = None,
    address: options.Address = options.ADDRESS,
    domain: options.Domain = "",
    samples_per_chunk: options.SamplesPerChunk = None,
    gate: options.Gate = None,
    accept_at: options.AcceptAt = None,
    scale: options.Scale = None,
    minimum_speech: options.MinimumSpeech = None,
    minimum_margin: options.MinimumMargin = None,
    channel: options.Channel = None,
    in_json: options.Json = False,
) -> int:
    """Say who of the enrolled speakers, or of a group, sounds most like a recording."""
    policy = options.policy_of(scale, accept_at, minimum_speech)
    audio = read_audio(file, channel)
    with Client(address) as client:
        updates = client.verify_stream(
            Everyone(top) if group is None else MembersOf(group, top),
            audio.pieces(_PIECE_MS),
            audio.format,
            update_interval_s=_ONE_UPDATE_S,
            domain=domain,
            samples_per_chunk=samples_per_chunk,
            speech_gate=gate,
            policy=replace(policy, minimum_margin=minimum_margin),
        )
        result = last(updates)
    render.say(render.as_json(result) if in_json else render.ranking_text(result))
    return _exit_code(result)


# Registered after the commands above, because help lists commands in this order.
app.command(epilog=EXITS)(extract)
app.command(epilog=LOAD_EXITS)(load)
app.command()(status)
app.command()(sessions)
app.command(epilog=WAIT_EXITS)(drain)
app.command()(resume)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run speakerctl and give its exit code; whatever fails ends in one line."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A name that this terminal cannot show must not turn an answer into a failure.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = _invoke(arguments)
    # Python would exit with 1 for what nobody foresaw, and 1 means REJECT here.
    except Exception as error:  # noqa: BLE001
        render.complain(f"unforeseen failure, please report it: {type(error).__name__}: {error}")
        return render.FAILED
    except KeyboardInterrupt:
        code = render.INTERRUPTED
    if code == render.INTERRUPTED:
        render.complain("interrupted")
    return code


def _invoke(arguments: Sequence[str] | None) -> int:
    """Run the command; failures with a name end in one line."""
    try:
        code: int | None = app(
            None if arguments is None else list(arguments),
            prog_name="speakerctl",
            standalone_mode=False,
        )
    except typer.TyperException as error:
        message = error.format_message()
        if message.startswith("Usage:"):
            sys.stderr.write(f"{message}\n")
        else:
            render.complain(f"{message} (see speakerctl --help)")
        return _USAGE_CODES.get(_command_of(error), render.FAILED)
    except typer.Abort:
        return render.INTERRUPTED
    except SpeakerdError as error:
        render.complain(render.error_text(error))
        return render.FAILED
    except BrokenPipeError:
        # The reader of our output has gone; nothing more can be said to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return render.FAILED
    return code or 0


def _command_of(error: typer.TyperException) -> str:
    """Give the command whose usage is wrong, such as "models load"; empty for speakerctl itself."""
    context = getattr(error, "ctx", None)
    return "" if context is None else str(context.command_path).partition(" ")[2]


def _exit_code(result: Verification) -> int:
    return render.EXIT_CODES.get(result.decision, render.NO_ANSWER)
