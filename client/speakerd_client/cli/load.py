"""speakerctl load: paced live streams, the most of them that are carried, and closed loops."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypedDict, TypeVar

import typer

from speakerd_client.call_options import VerifyOptions
from speakerd_client.cli import load_options as given
from speakerd_client.cli import options, render
from speakerd_client.cli.load_plot import Picture
from speakerd_client.cli.load_tables import capacity_report, closed_report, live_report, step_text
from speakerd_client.cli.load_watch import Watching, watched
from speakerd_client.errors import AudioFileError, InvalidLoad, OutputUnusable
from speakerd_client.load import capacity, runs
from speakerd_client.load.capacity import CapacityResult, Wanted
from speakerd_client.load.closed_result import ClosedResult
from speakerd_client.load.kserve import FORMAT
from speakerd_client.load.live_result import LiveResult
from speakerd_client.load.plan import ClosedPlan, LivePlan
from speakerd_client.load.sound import Track, tracks_of
from speakerd_client.policies import Policy

P = ParamSpec("P")
N = TypeVar("N", int, float)
NOT_STARTED = 2
EXITS = (
    "Exits with 0 done without an error, 1 done but some streams or calls failed (named by reason;"
    " with --find-capacity: not even one stream was carried), 2 not started (an option, a file or"
    " the plot cannot be used), 3 error, 130 interrupted (what was measured is told)."
)
_UTTERANCE_S = 2.0
"""Synthetic audio of one call in a closed loop: one window of the default model."""

_OF_STREAMS: tuple[str, ...] = (
    *("find_capacity", "streams", "message_ms", "jitter_ms", "update_interval"),
    *("lag_ms", "resolution"),
)
_OF_DAEMONS = (
    *("closed_loop", "encoding", "rate", "samples_per_chunk"),
    *("speaker", "domain", "maximum_speech"),
)
_OF_CLAIMS = ("speaker", "domain", "maximum_speech")


class _Crew(TypedDict):
    connections: int | None
    processes: int
    speaker_id: str | None
    options: VerifyOptions


def _not_started(command: Callable[P, int]) -> Callable[P, int]:
    """Make a command exit with 2 when nothing was begun for want of something usable."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> int:
        try:
            return command(*args, **kwargs)
        except (InvalidLoad, AudioFileError, OutputUnusable) as error:
            render.complain(render.error_text(error))
            return NOT_STARTED

    return wrapped


@_not_started
def load(
    context: typer.Context,
    files: given.Files = None,
    closed_loop: given.ClosedLoop = None,
    kserve: given.Kserve = None,
    find_capacity: given.FindCapacity = False,
    streams: given.Streams = None,
    concurrency: given.Concurrency = None,
    seconds: given.Seconds = 20.0,
    settle: given.Settle = None,
    message_ms: given.MessageMs = None,
    jitter_ms: given.JitterMs = None,
    encoding: given.WireEncoding = None,
    rate: given.WireRate = None,
    channel: options.Channel = None,
    samples_per_chunk: options.SamplesPerChunk = None,
    update_interval: given.UpdateInterval = None,
    maximum_speech: given.MaximumSpeech = None,
    speaker: given.Speaker = None,
    domain: options.Domain = "",
    model: options.ModelName = "",
    connections: given.Connections = None,
    processes: given.Processes = 1,
    lag_ms: given.LagMs = None,
    resolution: given.Resolution = None,
    plot: given.PlotFile = None,
    address: options.Address = options.ADDRESS,
    in_json: given.Json = False,
) -> int:
    """Put a daemon under load: live streams at the pace of calls, or whole recordings.

    Tells connect time, decision lag, time to decision and errors, and what generating cost.
    """
    _refuse_idle(dict(locals()))
    picture = Picture(plot)
    call = _call_options(domain, model, samples_per_chunk, update_interval, maximum_speech)
    crew = _Crew(connections=connections, processes=processes, speaker_id=speaker, options=call)
    read = functools.partial(
        tracks_of, files or (), encoding=encoding, rate_hz=rate, channel=channel
    )
    if kserve is not None:
        read = functools.partial(read, encoding=FORMAT.encoding, rate_hz=FORMAT.sample_rate_hz)
        address = given.kserve_address(context, kserve, address)
    if kind := closed_loop or (kserve and f"kserve-{kserve}"):
        numbers = _numbers(concurrency)
        closed = ClosedPlan(address, kind, numbers, seconds, settle or 0.0, **crew)
        return _closed(closed, read(synthetic_s=_UTTERANCE_S), picture, in_json)
    many = given.MOST_TRIED if find_capacity else given.STREAMS
    pace = _or(message_ms, 100), _or(jitter_ms, 0.0)
    live = LivePlan(address, _or(streams, many), seconds, settle, *pace, **crew)
    if find_capacity:
        wanted = Wanted(_or(lag_ms, 500.0), _share(resolution))
        return _capacity(live, wanted, read(), picture, in_json)
    return _live(live, read(), picture, in_json)


def _live(plan: LivePlan, tracks: tuple[Track, ...], picture: Picture, in_json: bool) -> int:
    def work(watching: Watching) -> Coroutine[Any, Any, LiveResult]:
        return runs.run_live(plan, tracks, watch=watching.watch, stop=watching.stop)

    result = watched(work, plan.seconds)
    render.say(render.as_json(result)) if in_json else live_report(result)
    picture.live(result)
    return _code(result.interrupted, bool(result.errors))


def _capacity(
    plan: LivePlan, wanted: Wanted, tracks: tuple[Track, ...], picture: Picture, in_json: bool
) -> int:
    def work(watching: Watching) -> Coroutine[Any, Any, CapacityResult]:
        return capacity.find_capacity(
            plan,
            tracks,
            wanted,
            watch=watching.watch,
            begins=lambda trial: watching.begins(f"{trial.streams} streams, {trial.purpose}"),
            ended=lambda step: watching.tell(step_text(step)),
            stop=watching.stop,
        )

    result = watched(work, plan.seconds)
    render.say(render.as_json(result)) if in_json else capacity_report(result)
    picture.capacity(result)
    if result.ended_by:
        render.complain(f"the search ended early: {result.ended_by}")
        return render.FAILED
    return _code(result.interrupted, not result.streams)


def _closed(plan: ClosedPlan, tracks: tuple[Track, ...], picture: Picture, in_json: bool) -> int:
    def work(watching: Watching) -> Coroutine[Any, Any, ClosedResult]:
        return runs.run_closed(plan, tracks, watch=watching.watch, stop=watching.stop)

    result = watched(work, plan.seconds)
    render.say(render.as_json(result)) if in_json else closed_report(result)
    picture.closed(result)
    return _code(result.interrupted, any(row.errors for row in result.rows))


def _code(interrupted: bool, failed: bool) -> int:
    return render.INTERRUPTED if interrupted else int(failed)


def _call_options(
    domain: str,
    model: str,
    samples_per_chunk: int | None,
    update_interval_s: float | None,
    maximum_speech_s: float | None,
) -> VerifyOptions:
    policy = None if maximum_speech_s is None else Policy(maximum_speech_s=maximum_speech_s)
    return VerifyOptions(
        domain=domain,
        model=model,
        samples_per_chunk=samples_per_chunk,
        update_interval_s=update_interval_s,
        policy=policy,
    )


def _refuse_idle(asked: dict[str, Any]) -> None:
    """Refuse options that this kind of load does nothing with; `asked` has all by name."""
    kind, protocol = asked["closed_loop"], asked["kserve"]
    idle: tuple[str, ...]
    if protocol is not None:
        _refuse(asked, _OF_DAEMONS, "--kserve asks for whole embeddings, of float32le at 16000 Hz")
        if protocol == "http":
            _refuse(asked, ("connections",), "over HTTP each call at once has its own")
    if kind is not None or protocol is not None:
        idle, why = _OF_STREAMS, "a closed loop sends whole recordings"
        if kind == "embed":
            _refuse(asked, _OF_CLAIMS, "an embedding is compared with nobody")
    elif asked["find_capacity"]:
        idle, why = ("concurrency",), "it is for --closed-loop"
    else:
        idle, why = ("concurrency", "lag_ms", "resolution"), "a live load looks for nothing"
    _refuse(asked, idle, why)
    if not asked["files"]:
        _refuse(asked, ("channel",), "there is no file")


def _refuse(asked: dict[str, Any], names: tuple[str, ...], why: str) -> None:
    flags = {name.replace("_", "-"): asked[name] for name in names}
    unset = (name for name, value in flags.items() if value is False or value == "")
    options.refuse_idle(why, **(flags | dict.fromkeys(unset)))


def _numbers(text: str | None) -> tuple[int, ...]:
    try:
        return tuple(int(each) for each in (text or "8").split(","))
    except ValueError as error:
        raise InvalidLoad(f"--concurrency takes numbers such as 8 or 1,8,32, not {text}") from error


def _share(text: str | None) -> float:
    try:
        return float((text or "5%").removesuffix("%")) / 100
    except ValueError as error:
        raise InvalidLoad(f"--resolution takes percent such as 5%, not {text}") from error


def _or(value: N | None, default: N) -> N:
    return default if value is None else value
