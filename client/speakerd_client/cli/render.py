"""Results as text for people and as JSON for scripts."""

from __future__ import annotations

import dataclasses
import enum
import json
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from speakerd_client.errors import SpeakerdError
from speakerd_client.records import Enrollment, Group, Speaker
from speakerd_client.results import Decision, SpeakerScore, Verification, WatchlistHit

EXIT_CODES = {Decision.ACCEPT: 0, Decision.REJECT: 1}
NO_ANSWER = 2
FAILED = 3
INTERRUPTED = 130

_BARS = "▁▂▃▄▅▆▇█"


def say(text: str) -> None:
    """Write one line of the answer, at once, however long it is.

    Raises:
        SpeakerdError: Standard output is closed, or has no room.
    """
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except (AttributeError, OSError) as error:
        # Python has None in the place of an output that is closed.
        cause = getattr(error, "strerror", None) or "standard output is closed"
        raise SpeakerdError(f"the answer cannot be written: {cause}") from error


def complain(text: str) -> None:
    """Write one line to standard error, whatever the text; where that is closed, nothing."""
    with suppress(AttributeError, OSError):
        sys.stderr.write(f"speakerctl: {printable(' '.join(text.splitlines()))}\n")


def printable(text: str) -> str:
    """Escape what could move the cursor or hide text on a terminal."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def as_json(value: Any) -> str:
    """One line of JSON: dataclasses as objects, enums by value, times in ISO 8601."""
    return json.dumps(_plain(value), allow_nan=False)


def error_text(error: SpeakerdError) -> str:
    """Give the reason, the fields that are wrong, and whether trying again helps."""
    text = f"{error.message} [{error.reason}]" if error.reason else error.message
    wrong = [each.field for each in error.field_violations if each.field not in error.message]
    if wrong:
        text += f" (field {', '.join(wrong)})"
    if error.retry_after_s is not None:
        text += f"; try again in {error.retry_after_s:g} s"
    return text


def score_text(result: Verification) -> str:
    """Give the best score with its scale and threshold."""
    best = result.scores[0] if result.scores else None
    if best is None or best.score is None or best.scale is None:
        return "no score"
    text = f"{best.scale.value} {best.score:.3f}"
    accept_at = best.accept_at
    if accept_at is None:
        accept_at = result.settings.policy.accept_at
    return text if accept_at is None else f"{text} (accept at {accept_at:.3f})"


def scales_text(one: SpeakerScore) -> str:
    """Give one comparison on every scale, and the calibration behind the llr; perhaps empty."""
    told = [f"{each.scale.value} {each.value:.3f}" for each in one.all_scores]
    if told and one.profile:
        told[-1] += f" (calibration {one.profile})"
    return ", ".join(told)


def verification_text(claim: str, result: Verification) -> str:
    """Give a decision in lines: the numbers, why, the best score on every scale."""
    head = f"{result.decision.name}  {claim}  {score_text(result)}"
    text = f"{printable(head)}  {result.net_speech_s:.2f} s of speech\n{printable(result.reason)}"
    if result.scores and (scales := scales_text(result.scores[0])):
        text += f"\n{printable(scales)}"
    if result.handover is not None:
        text += f"\nanother voice took over at {result.handover.audio_time_s:.1f} s"
    return "\n".join([text, *map(hit_text, result.watchlist_hits)])


def hit_text(hit: WatchlistHit) -> str:
    """Give a member of a watchlist who was noticed."""
    return printable(
        f"watchlist {hit.group}: {hit.speaker_id}, {hit.scale.value} {hit.score:.3f} (hit at"
        f" {hit.hit_at:.3f}), noticed at {hit.audio_time_s:.1f} s"
    )


def quality_text(result: Verification) -> str:
    """Give how good the audio is, as far as it is known."""
    known = [f"{result.band.value} band"] if result.band else []
    if result.quality is not None:
        if result.quality.snr_db is not None:
            known.append(f"{result.quality.snr_db:.0f} dB above the noise")
        if result.quality.level_dbfs is not None:
            known.append(f"{result.quality.level_dbfs:.0f} dBFS")
        if result.quality.clipping_share:
            known.append(f"{100 * result.quality.clipping_share:.1f} % clipped")
    return ", ".join(known) or "-"


def ranking_text(result: Verification) -> str:
    """Give the most alike speakers, one a line, under the decision."""
    rows = [
        (f"{rank}.", each.speaker_id, _number(each.score), each.decision.name)
        for rank, each in enumerate(result.scores, start=1)
    ]
    lines = columns(rows) if rows else ["nobody is enrolled there"]
    best = result.scores[0].speaker_id if result.scores else "nobody"
    if result.margin is not None:
        lines.append(f"the first leads the second by {result.margin:.3f}")
    return "\n".join([verification_text(best, result), *lines])


def enrollment_text(name: str, result: Enrollment) -> str:
    """Give what was stored of one file."""
    speaker = result.speaker
    count = len(speaker.recordings)
    return printable(
        f"{speaker.state.name}  {speaker.speaker_id}  {name}  recording {result.recording_id}"
        f"  {count} recording{'s' * (count != 1)}, {speaker.net_speech_s:.2f} s of speech in all"
    )


def speaker_rows(speakers: Iterable[Speaker]) -> list[str]:
    """Give a list of speakers, one a line."""
    rows = [("SPEAKER", "STATE", "RECORDINGS", "SPEECH", "UPDATED", "NAME")]
    rows += [
        (
            each.speaker_id,
            each.state.name,
            str(len(each.recordings)),
            f"{each.net_speech_s:.2f} s",
            time_text(each.updated),
            each.display_name,
        )
        for each in speakers
    ]
    return columns(rows)


def speaker_text(speaker: Speaker) -> str:
    """Give all that is known of one speaker."""
    facts = [
        ("speaker", speaker.speaker_id),
        ("domain", speaker.domain),
        ("name", speaker.display_name or "-"),
        ("state", speaker.state.name),
        ("speech", f"{speaker.net_speech_s:.2f} s"),
        ("model", str(speaker.model or "-")),
        ("created", time_text(speaker.created)),
        ("updated", time_text(speaker.updated)),
    ]
    if speaker.groups:
        facts.append(("groups", ", ".join(speaker.groups)))
    facts += [
        (name, time_text(when))
        for name, when in (
            ("consent", speaker.consent),
            ("last used", speaker.last_used),
            ("expires", speaker.expires),
            ("opted out", speaker.opted_out),
        )
        if when is not None
    ]
    rows = [("RECORDING", "CREATED", "SPEECH", "WINDOWS", "CONSISTENCY")]
    rows += [
        (
            each.recording_id,
            time_text(each.created),
            f"{each.net_speech_s:.2f} s",
            str(each.window_count),
            f"{each.window_consistency:.3f}",
        )
        for each in speaker.recordings
    ]
    return "\n".join(columns(facts) + (columns(rows) if speaker.recordings else []))


def group_rows(groups: Iterable[Group]) -> list[str]:
    """Give a list of groups, one a line."""
    rows = [("GROUP", "MEMBERS", "UPDATED")]
    rows += [(each.name, str(each.member_count), time_text(each.updated)) for each in groups]
    return columns(rows)


def group_text(group: Group) -> str:
    """Give a group and its members, one a line."""
    count = group.member_count
    head = f"{group.name}  {count} member{'s' * (count != 1)}"
    return "\n".join(map(printable, (head, *group.speaker_ids)))


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Align rows of cells; no line is cut, so that a script finds every cell whole."""
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def time_text(value: datetime) -> str:
    """Give a time of the clock on the wall here."""
    return value.astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")


def sparkline(values: Sequence[float], low: float, high: float) -> str:
    """Draw values as bars between `low` and `high`; what lies outside touches the edge."""
    steps = len(_BARS) - 1
    span = max(high - low, 1e-9)
    return "".join(_BARS[round(steps * min(1.0, max(0.0, (v - low) / span)))] for v in values)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = (each.name for each in dataclasses.fields(value))
        return {name: _plain(getattr(value, name)) for name in names}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return value


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
