"""The options that several commands share, each written once, and what is made of them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

import typer

from speakerd_client.audio import AudioFormat, Encoding
from speakerd_client.checks import require_address
from speakerd_client.client import DEFAULT_ADDRESS
from speakerd_client.policies import Policy, ScoreScale, SequentialPolicy
from speakerd_client.targets import Watchlists


def _address(value: str) -> str:
    """Refuse what cannot be an address, as the SDK does."""
    try:
        require_address(value)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    return value


ScaleName = Literal["cosine", "similarity", "asnorm", "llr"]
Address = Annotated[
    str,
    typer.Option(
        "--address",
        envvar="SPEAKERD_ADDRESS",
        callback=_address,
        help="host:port of the daemon.",
    ),
]
Domain = Annotated[str, typer.Option("--domain", help="Set of speakers; empty: default.")]
SamplesPerChunk = Annotated[
    int | None,
    typer.Option(
        "--samples-per-chunk",
        help="Window length in samples at the model's rate; -1: one window over all.",
    ),
]
AcceptAt = Annotated[
    float | None,
    typer.Option("--accept-at", help="Accept at this score or above; unset: the model card's."),
]
Scale = Annotated[
    ScaleName | None,
    typer.Option("--scale", help="Scale of scores and --accept-at.  [default: cosine]"),
]
Sequential = Annotated[
    str | None,
    typer.Option(
        "--sequential",
        metavar="FAR,FRR",
        help="Decide as soon as these error rates allow, for good; in place of a threshold.",
    ),
]
MinimumMargin = Annotated[
    float | None,
    typer.Option(
        "--minimum-margin", help="Lead over the second speaker that an accept needs.  [default: 0]"
    ),
]
Consent = Annotated[
    str | None,
    typer.Option(
        "--consent", metavar="TIME|now", help="When the person agreed to be enrolled, ISO 8601."
    ),
]
Watchlist = Annotated[
    str | None,
    typer.Option("--watchlist", metavar="G[,G]", help="Say who of these groups is heard as well."),
]
HitAt = Annotated[
    float | None,
    typer.Option("--hit-at", help="Score that makes a hit.  [default: the accept threshold]"),
]
MinimumSpeech = Annotated[
    float | None,
    typer.Option("--minimum-speech", help="Seconds of speech that a decision needs."),
]
NeededSpeech = Annotated[
    float | None,
    typer.Option("--minimum-speech", help="Seconds of speech that each recording needs."),
]
MessageMs = Annotated[
    int, typer.Option("--message-ms", min=1, max=10000, help="Audio sent in one message.")
]
Channel = Annotated[
    int | None, typer.Option("--channel", min=0, help="Channel of a file with several, from 0.")
]
RawEncoding = Annotated[
    Encoding | None,
    typer.Option("--encoding", help="Of raw audio on standard input.  [default: pcm16le]"),
]
RawRate = Annotated[
    int | None,
    typer.Option("--rate", min=1, help="Hz of raw audio on standard input.  [default: 16000]"),
]
Gate = Annotated[
    bool | None,
    typer.Option(
        "--gate/--no-gate",
        help="Hear speech alone, or all audio.  [default: as the daemon is set]",
    ),
]
RawChannels = Annotated[
    int | None,
    typer.Option(
        "--raw-channels",
        min=1,
        max=2,
        help="Channels of raw audio on standard input; of two, --channel says which.  [default: 1]",
    ),
]
Opus = Annotated[
    bool, typer.Option("--opus", help="FILE, or standard input, is Ogg/Opus and is sent as it is.")
]
ModelName = Annotated[
    str, typer.Option("--model", help="NAME or NAME/VERSION; empty: the daemon's default.")
]
Json = Annotated[bool, typer.Option("--json", help="JSON, one line for each item.")]

ADDRESS = DEFAULT_ADDRESS


def raw_format(
    encoding: Encoding | None, rate_hz: int | None, channels: int | None, channel: int | None
) -> AudioFormat:
    """Make the format of raw audio; `channel` counts from 0, as of files."""
    try:
        return AudioFormat(
            encoding or Encoding.PCM16LE,
            rate_hz or 16000,
            channels or 1,
            None if channel is None else channel + 1,
        )
    except ValueError as error:
        there = "0 or 1" if channels == 2 else "0 only, or set --raw-channels 2"
        raise typer.BadParameter(f"--channel must be {there}") from error


def refuse_idle(reason: str, **given: object) -> None:
    """Refuse options that were given and would do nothing."""
    idle = [f"--{name}" for name, value in given.items() if value is not None]
    if idle:
        raise typer.BadParameter(f"{' and '.join(idle)} would do nothing: {reason}")


def policy_of(
    scale: ScaleName | None,
    accept_at: float | None,
    minimum_speech_s: float | None,
    sequential: str | None = None,
) -> Policy:
    """Make a policy; a threshold without a scale is on the cosine scale."""
    if sequential is not None:
        refuse_idle("--sequential decides by boundaries", **{"accept-at": accept_at})
    if scale is None and accept_at is not None:
        scale = "cosine"
    wanted = None if scale is None else ScoreScale(scale)
    rates = None if sequential is None else _rates(sequential)
    return Policy(
        scale=wanted, accept_at=accept_at, minimum_speech_s=minimum_speech_s, sequential=rates
    )


def consent_of(text: str | None) -> datetime | None:
    """Read a time; without a zone it is that of this machine."""
    if text is None or text == "now":
        return None if text is None else datetime.now(UTC)
    try:
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError) as error:
        problem = f"{text!r} is no time such as 2026-11-26T14:30 or now"
        raise typer.BadParameter(problem, param_hint="--consent") from error


def watchlists_of(names: str | None, hit_at: float | None) -> Watchlists | None:
    """Make watchlists of names with commas between them."""
    if names is None:
        refuse_idle("it is for --watchlist", **{"hit-at": hit_at})
        return None
    return Watchlists(tuple(name.strip() for name in names.split(",")), hit_at)


def _rates(text: str) -> SequentialPolicy:
    """Read FAR,FRR; whether the model has boundaries for them, the daemon says."""
    try:
        far, frr = (float(one) for one in text.split(","))
    except ValueError as error:
        problem = f"{text!r} is not a pair of shares such as 0.01,0.05"
        raise typer.BadParameter(problem, param_hint="--sequential") from error
    return SequentialPolicy(far, frr)
