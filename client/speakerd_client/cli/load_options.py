"""The options of speakerctl load that no other command has."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from speakerd_client.audio import Encoding

STREAMS, MOST_TRIED = 10, 1000
HTTP_ADDRESS = "127.0.0.1:8000"
"""Of --kserve http, where nothing else is given."""

Files = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="FILE",
        help="Recordings to send, repeated as needed, each stream one of them, from different"
        " places on. Without any: a synthetic signal, whose decisions mean nothing.",
    ),
]
ClosedLoop = Annotated[
    Literal["verify", "embed"] | None,
    typer.Option(
        "--closed-loop", help="Whole recordings in place of streams, each after the one before."
    ),
]
Kserve = Annotated[
    Literal["grpc", "http"] | None,
    typer.Option(
        "--kserve",
        help="A closed loop of KServe v2 inference, as Triton has it: --address is any such"
        " server's gRPC or HTTP port, --model its model.  [default: speaker]",
    ),
]
FindCapacity = Annotated[
    bool, typer.Option("--find-capacity", help="Look for the most streams within --lag-ms.")
]
Streams = Annotated[
    int | None,
    typer.Option(
        "--streams",
        help="Live streams at once; with --find-capacity the most to try."
        f"  [default: {STREAMS}, {MOST_TRIED} with --find-capacity]",
    ),
]
Concurrency = Annotated[
    str | None,
    typer.Option(
        "--concurrency", help="Calls at once in a closed loop; several as 1,8,32.  [default: 8]"
    ),
]
Seconds = Annotated[
    float, typer.Option("--seconds", help="Length of each stream, of each row, of each step.")
]
Settle = Annotated[
    float | None,
    typer.Option(
        "--settle",
        help="Seconds from the start that are not counted.  [default: 0; with --find-capacity a"
        " quarter of --seconds]",
    ),
]
MessageMs = Annotated[
    int | None, typer.Option("--message-ms", help="Audio sent in one message.  [default: 100]")
]
JitterMs = Annotated[
    float | None,
    typer.Option("--jitter-ms", help="Each message is late by up to this.  [default: 0]"),
]
WireEncoding = Annotated[
    Encoding | None,
    typer.Option("--encoding", help="Of the audio as sent.  [default: the file's, or pcm16le]"),
]
WireRate = Annotated[
    int | None,
    typer.Option("--rate", help="Hz of the audio as sent.  [default: the file's, or 16000]"),
]
UpdateInterval = Annotated[
    float | None,
    typer.Option("--update-interval", help="Least seconds of audio between two updates."),
]
MaximumSpeech = Annotated[
    float | None,
    typer.Option("--maximum-speech", help="Seconds of speech that settle a stream's decision."),
]
Speaker = Annotated[
    str | None,
    typer.Option("--speaker", help="Whom the voices claim to be, enrolled; unset: no target."),
]
Connections = Annotated[
    int | None,
    typer.Option(
        "--connections",
        help="HTTP/2 connections, streams spread evenly over them.  [default: one for every 50]",
    ),
]
Processes = Annotated[int, typer.Option("--processes", help="Processes that generate the load.")]
LagMs = Annotated[
    float | None,
    typer.Option("--lag-ms", help="Longest p99 decision lag of --find-capacity.  [default: 500]"),
]
Resolution = Annotated[
    str | None,
    typer.Option("--resolution", help="How closely the number is found.  [default: 5%]"),
]
PlotFile = Annotated[
    Path | None, typer.Option("--plot", metavar="FILE.png", help="Draw what was measured.")
]
Json = Annotated[bool, typer.Option("--json", help="One line of JSON in place of the table.")]


def kserve_address(context: typer.Context, protocol: Literal["grpc", "http"], address: str) -> str:
    """Give the address to ask: for HTTP another default than for everything else."""
    source = context.get_parameter_source("address")
    if protocol == "http" and source is not None and source.name == "DEFAULT":
        return HTTP_ADDRESS
    return address
