"""The commands of speakerctl and their exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track

from speakerd_client.audio import Audio, AudioFormat, Encoding, read_audio
from speakerd_client.blocking import Client
from speakerd_client.cli import options, render, speakers
from speakerd_client.cli.live import follow
from speakerd_client.errors import AudioFileError, InvalidRequest, NotPossible, SpeakerdError
from speakerd_client.records import EnrollFeedback, Health
from speakerd_client.results import Everyone, Verification
from speakerd_client.source import pace

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help=(
        "Talk to a speakerd daemon: enrol speakers, verify and identify voices.\n\n"
        "Exit codes of verify and identify: 0 accept, 1 reject, 2 no answer (not enough speech,"
        " not enrolled, undecided, ...). Of every command: 3 error, with the reason on standard"
        " error; 0 done."
    ),
)
app.add_typer(speakers.app, name="speakers")

_EXITS = "Exits with 0 accept, 1 reject, 2 no answer, 3 error."
SpeakerId = Annotated[str, typer.Argument(metavar="ID", help="Id of the speaker.")]


@app.command()
def enroll(
    speaker_id: SpeakerId,
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="One recording each.")],
    address: options.Address = options.ADDRESS,
    domain: options.Domain = "",
    samples_per_chunk: options.SamplesPerChunk = None,
    minimum_speech: options.NeededSpeech = None,
    name: Annotated[str | None, typer.Option("--name", help="New display name.")] = None,
    channel: options.Channel = None,
    in_json: options.Json = False,
) -> int:
    """Add recordings to a speaker, who is created where new.

    A file that is refused is named and the others go on; the exit code is then 3.
    """
    refused = 0
    errors = Console(stderr=True)
    silent = len(files) == 1 or not errors.is_terminal
    with Client(address) as client:
        for path in track(files, "enrolling", console=errors, disable=silent, transient=True):
            try:
                result = client.enroll(
                    speaker_id,
                    read_audio(path, channel),
                    domain=domain,
                    samples_per_chunk=samples_per_chunk,
                    minimum_speech_s=minimum_speech,
                    display_name=name,
                )
            except (AudioFileError, InvalidRequest, NotPossible) as error:
                refused += 1
                render.complain(f"{path}: {render.error_text(error).removeprefix(f'{path}: ')}")
                continue
            render.say(
                render.as_json(result) if in_json else render.enrollment_text(str(path), result)
            )
            if result.feedback is not EnrollFeedback.OK:
                render.complain(f"warning: {path}: {result.reason}")
    return render.FAILED if refused else 0


@app.command(epilog=_EXITS)
def verify(
    speaker_id: SpeakerId,
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="Recording; -: raw audio.")],
    address: options.Address = options.ADDRESS,
    domain: options.Domain = "",
    samples_per_chunk: options.SamplesPerChunk = None,
    accept_at: options.AcceptAt = None,
    scale: options.Scale = None,
    minimum_speech: options.MinimumSpeech = None,
    message_ms: options.MessageMs = 100,
    realtime: Annotated[
        bool, typer.Option("--realtime", help="Send a file at the pace of a call.")
    ] = False,
    channel: options.Channel = None,
    encoding: options.RawEncoding = Encoding.PCM16LE,
    rate: options.RawRate = 16000,
    in_json: options.Json = False,
) -> int:
    """Verify live that a voice is the one it claims to be; a live view on a terminal."""
    if file == "-":
        wire_format = AudioFormat(encoding, rate)
        pieces = _standard_input(wire_format, message_ms)
    else:
        audio = read_audio(file, channel)
        wire_format, pieces = audio.format, audio.pieces(message_ms)
        if realtime:
            pieces = pace(pieces, wire_format)
    with Client(address) as client:
        updates = client.verify_stream(
            speaker_id,
            pieces,
            wire_format,
            domain=domain,
            samples_per_chunk=samples_per_chunk,
            policy=options.policy_of(scale, accept_at, minimum_speech),
        )
        final = follow(updates, speaker_id, Console(), in_json)
    if not in_json:
        render.say(render.verification_text(speaker_id, final))
    return _exit_code(final)


@app.command(epilog=_EXITS)
def identify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Recording.")],
    top: Annotated[int, typer.Option("--top", min=1, max=100, help="Speakers to show.")] = 5,
    address: options.Address = options.ADDRESS,
    domain: options.Domain = "",
    samples_per_chunk: options.SamplesPerChunk = None,
    accept_at: options.AcceptAt = None,
    scale: options.Scale = None,
    minimum_speech: options.MinimumSpeech = None,
    channel: options.Channel = None,
    in_json: options.Json = False,
) -> int:
    """Say who of the enrolled speakers sounds most like a recording."""
    audio: Audio = read_audio(file, channel)
    with Client(address) as client:
        result = client.verify(
            Everyone(top),
            audio,
            domain=domain,
            samples_per_chunk=samples_per_chunk,
            policy=options.policy_of(scale, accept_at, minimum_speech),
        )
    render.say(render.as_json(result) if in_json else render.ranking_text(result))
    return _exit_code(result)


@app.command()
def status(address: options.Address = options.ADDRESS, in_json: options.Json = False) -> int:
    """Say what the daemon is and how it does; exits with 0 when it takes calls, else 1."""
    with Client(address, timeout_s=10) as client:
        health, info, models = client.health(), client.server_info(), client.list_models()
    if in_json:
        facts = {"address": address, "health": health, "server": info, "models": models}
        render.say(render.as_json(facts))
    else:
        render.say(render.status_text(health.value, info, models, address))
    return 0 if health is Health.SERVING else 1


def run(arguments: Sequence[str] | None = None) -> int:
    """Run speakerctl and give its exit code; failures with a name end in one line."""
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
        return render.FAILED
    except typer.Abort:
        return render.FAILED
    except SpeakerdError as error:
        render.complain(render.error_text(error))
        return render.FAILED
    except BrokenPipeError:
        # The reader of our output has gone; nothing more can be said to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return render.FAILED
    return code or 0


def _exit_code(result: Verification) -> int:
    return render.EXIT_CODES.get(result.decision, render.NO_ANSWER)


def _standard_input(wire_format: AudioFormat, message_ms: int) -> Iterator[bytes]:
    """Read raw audio as it comes, at most `message_ms` at once."""
    if sys.stdin.isatty():
        raise AudioFileError("no audio on standard input; pipe raw samples into `verify ID -`")
    size_bytes = max(1, wire_format.bytes_per_second * message_ms // 1000)
    return iter(lambda: sys.stdin.buffer.read1(size_bytes), b"")  # type: ignore[union-attr]
