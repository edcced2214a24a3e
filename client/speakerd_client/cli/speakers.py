"""speakerctl speakers: who is enrolled."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from speakerd_client.blocking import Client
from speakerd_client.cli import options, render

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="List, show, delete speakers; keep some out."
)

SpeakerId = Annotated[str, typer.Argument(metavar="ID", help="Id of the speaker.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


@app.command("list")
def list_speakers(
    address: options.Address = options.ADDRESS,
    domain: options.Domain = "",
    in_json: options.Json = False,
) -> int:
    """List the speakers of a domain by id."""
    with Client(address) as client:
        found = client.list_speakers(domain=domain)
        lines = map(render.as_json, found) if in_json else render.speaker_rows(found)
        for line in lines:
            render.say(line)
    return 0


@app.command()
def show(
    speaker_id: SpeakerId,
    address: options.Address = options.ADDRESS,
    domain: options.Domain = "",
    in_json: options.Json = False,
) -> int:
    """Show one speaker with all recordings."""
    with Client(address) as client:
        speaker = client.get_speaker(speaker_id, domain=domain)
    render.say(render.as_json(speaker) if in_json else render.speaker_text(speaker))
    return 0


@app.command()
def delete(
    speaker_id: SpeakerId,
    address: options.Address = options.ADDRESS,
    domain: options.Domain = "",
    yes: Yes = False,
    in_json: options.Json = False,
) -> int:
    """Delete a speaker and erase the voiceprint; exits with 1 when you say no."""
    if code := refused(f"Erase the voiceprint of {speaker_id!r} for good?", "delete", yes=yes):
        return code
    with Client(address) as client:
        erased = client.delete_speaker(speaker_id, domain=domain)
    _say_erased("DELETED", speaker_id, erased, in_json=in_json)
    return 0


@app.command("opt-out")
def opt_out(
    speaker_id: SpeakerId,
    address: options.Address = options.ADDRESS,
    domain: options.Domain = "",
    yes: Yes = False,
    in_json: options.Json = False,
) -> int:
    """Erase a voiceprint and refuse the speaker until `allow`; exits with 1 when you say no."""
    question = f"Erase the voiceprint of {speaker_id!r} for good, and refuse to enrol it again?"
    if code := refused(question, "opt out", yes=yes):
        return code
    with Client(address) as client:
        erased = client.opt_out(speaker_id, domain=domain)
    _say_erased("OPTED_OUT", speaker_id, erased, in_json=in_json)
    return 0


@app.command()
def allow(
    speaker_id: SpeakerId,
    address: options.Address = options.ADDRESS,
    domain: options.Domain = "",
    in_json: options.Json = False,
) -> int:
    """Lift an opt-out, so that the speaker can be enrolled again."""
    with Client(address) as client:
        speaker = client.allow(speaker_id, domain=domain)
    text = f"{speaker.state.name}  {speaker_id}"
    render.say(render.as_json(speaker) if in_json else render.printable(text))
    return 0


def refused(question: str, verb: str, *, yes: bool) -> int:
    """Ask a person; give the exit code where the answer is no, or nobody is there, else 0."""
    if yes:
        return 0
    if not sys.stdin.isatty():
        render.complain(f"nobody to ask on standard input; say --yes to {verb}")
        return render.FAILED
    return 0 if typer.confirm(question, err=True) else 1


def _say_erased(word: str, speaker_id: str, erased: int, *, in_json: bool) -> None:
    if in_json:
        render.say(render.as_json({"speaker_id": speaker_id, "recordings_erased": erased}))
        return
    text = f"{word}  {speaker_id}  {erased} recording{'s' * (erased != 1)} erased"
    render.say(render.printable(text))
