"""speakerctl status, drain and resume: the daemon as a whole."""

from __future__ import annotations

from typing import Annotated

import typer

from speakerd_client.blocking import Client
from speakerd_client.cli import options, render
from speakerd_client.cli.daemon_text import drain_text, status_text
from speakerd_client.cli.live import waiting
from speakerd_client.records import Health

WAIT_EXITS = "Exits with 0 done, 1 calls still go on after --wait, 3 error, 130 interrupted."
CALLS_GO_ON = 1
_ANSWER_S = 10.0

Wait = Annotated[
    float | None,
    typer.Option(
        "--wait",
        min=0,
        max=3600,
        help="Seconds to wait until no call goes on any more; unset: do not wait.",
    ),
]


def status(address: options.Address = options.ADDRESS, in_json: options.Json = False) -> int:
    """Say what the daemon is and how it does; exits with 0 when it takes calls, else 1."""
    with Client(address, timeout_s=_ANSWER_S) as client:
        health, info, models = client.health(), client.server_info(), client.list_models()
    if in_json:
        facts = {"address": address, "health": health, "server": info, "models": models}
        render.say(render.as_json(facts))
    else:
        render.say(status_text(health, info, models, address))
    return 0 if health is Health.SERVING else 1


def drain(
    wait: Wait = None, address: options.Address = options.ADDRESS, in_json: options.Json = False
) -> int:
    """Take the daemon out of service: new calls are refused, those that go on finish.

    The daemon keeps running; `speakerctl resume` takes it back into service.
    """
    with Client(address) as client, waiting("waiting for the calls that go on"):
        state = client.drain(wait_s=wait)
    render.say(render.as_json(state) if in_json else drain_text(state))
    return CALLS_GO_ON if wait is not None and state.open_calls else 0


def resume(address: options.Address = options.ADDRESS, in_json: options.Json = False) -> int:
    """Take the daemon back into service after a drain."""
    with Client(address) as client:
        state = client.resume()
    render.say(render.as_json(state) if in_json else drain_text(state))
    return 0
