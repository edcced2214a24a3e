"""speakerctl speakers: who is enrolled."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from speakerd_client.blocking import Client
from speakerd_client.cli import options, render

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="List, show, delete speakers.")

SpeakerId = Annotated[str, typer.Argument(metavar="ID", help="Id of the speaker.")]


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
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    in_json: options.Json = False,
) -> int:
    """Delete a speaker and erase the voiceprint; exits with 1 when you say no."""
    if not yes:
        if not sys.stdin.isatty():
            render.complain("nobody to ask on standard input; say --yes to delete")
            return render.FAILED
        if not typer.confirm(f"Erase the voiceprint of {speaker_id!r} for good?", err=True):
            return 1
    with Client(address) as client:
        erased = client.delete_speaker(speaker_id, domain=domain)
    if in_json:
        render.say(render.as_json({"speaker_id": speaker_id, "recordings_erased": erased}))
    else:
        render.say(f"DELETED  {speaker_id}  {erased} recording{'s' * (erased != 1)} erased")
    return 0
