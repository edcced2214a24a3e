"""speakerctl groups: households, watchlists."""

from __future__ import annotations

from typing import Annotated

import typer

from speakerd_client.blocking import Client
from speakerd_client.cli import options, render
from speakerd_client.cli.speakers import Yes, refused
from speakerd_client.records import Group

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Sets of speakers to search among."
)

Name = Annotated[str, typer.Argument(metavar="GROUP", help="Name of the group.")]
SpeakerIds = Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of speakers.")]


@app.command("list")
def list_groups(
    address: options.Address = options.ADDRESS,
    domain: options.Domain = "",
    in_json: options.Json = False,
) -> int:
    """List the groups of a domain by name."""
    with Client(address) as client:
        found = client.list_groups(domain=domain)
        lines = map(render.as_json, found) if in_json else render.group_rows(found)
        for line in lines:
            render.say(line)
    return 0


@app.command()
def show(
    name: Name,
    address: options.Address = options.ADDRESS,
    domain: options.Domain = "",
    in_json: options.Json = False,
) -> int:
    """Show one group with its members."""
    with Client(address) as client:
        _say(client.get_group(name, domain=domain), in_json)
    return 0


@app.command()
def create(
    name: Name,
    address: options.Address = options.ADDRESS,
    domain: options.Domain = "",
    in_json: options.Json = False,
) -> int:
    """Make an empty group."""
    with Client(address) as client:
        _say(client.create_group(name, domain=domain), in_json)
    return 0


@app.command()
def add(
    name: Name,
    speaker_ids: SpeakerIds,
    address: options.Address = options.ADDRESS,
    domain: options.Domain = "",
    in_json: options.Json = False,
) -> int:
    """Add speakers to a group, all of them or none."""
    with Client(address) as client:
        _say(client.update_group(name, domain=domain, add=speaker_ids), in_json)
    return 0


@app.command()
def remove(
    name: Name,
    speaker_ids: SpeakerIds,
    address: options.Address = options.ADDRESS,
    domain: options.Domain = "",
    in_json: options.Json = False,
) -> int:
    """Take members out of a group; they stay enrolled."""
    with Client(address) as client:
        _say(client.update_group(name, domain=domain, remove=speaker_ids), in_json)
    return 0


@app.command()
def delete(
    name: Name,
    address: options.Address = options.ADDRESS,
    domain: options.Domain = "",
    yes: Yes = False,
    in_json: options.Json = False,
) -> int:
    """Delete a group, whose members stay enrolled; exits with 1 when you say no."""
    if code := refused(f"Delete the group {name!r}?", "delete", yes=yes):
        return code
    with Client(address) as client:
        members = client.delete_group(name, domain=domain)
    if in_json:
        render.say(render.as_json({"name": name, "members": members}))
    else:
        text = f"DELETED  {name}  {members} member{'s' * (members != 1)}"
        render.say(render.printable(text))
    return 0


def _say(group: Group, in_json: bool) -> None:
    render.say(render.as_json(group) if in_json else render.group_text(group))
