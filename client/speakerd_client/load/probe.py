"""What the daemon makes of a load's calls, asked before the first of them."""

from __future__ import annotations

from collections.abc import Sequence

from speakerd_client.client import AsyncClient
from speakerd_client.errors import NotFound, NotOffered, NotReachable, SpeakerdError
from speakerd_client.load.asking import KINDS
from speakerd_client.load.kserve import KSERVE_KINDS
from speakerd_client.load.kserve_probe import require_model
from speakerd_client.load.plan import ClosedPlan, LivePlan
from speakerd_client.load.sound import Track
from speakerd_client.results import CallSettings

ANSWER_S = 10.0
"""Longest wait for each answer."""


async def settings_of(plan: LivePlan, tracks: Sequence[Track]) -> CallSettings:
    """Open one call for each format of the tracks and abandon it; give what the first runs with.

    Raises:
        SpeakerdError: No daemon answers, it knows no such speaker, model or domain, or it refuses
            the call for another reason.
    """
    found = []
    async with AsyncClient(plan.address, timeout_s=ANSWER_S) as client:
        await _require_speaker(client, plan)
        for audio_format in dict.fromkeys(track.audio.format for track in tracks):
            call = client.stream_verify(plan.speaker_id, audio_format, **plan.call_options)
            async with call:
                found.append(call.settings)
    settings = found[0]
    assert settings is not None
    return settings


async def require_answer(plan: ClosedPlan, tracks: Sequence[Track]) -> None:
    """Ask once, with the first track; that this one is refused is left to the load to count.

    Raises:
        InvalidLoad: The track cannot be sent whole, or the model takes something else.
        SpeakerdError: No daemon answers, it does not offer this, or it knows no such speaker,
            model or domain.
    """
    asking = KINDS[plan.kind](plan, tracks[:1])
    if plan.kind in KSERVE_KINDS:
        await require_model(plan.kind, plan.address, plan.options.get("model", ""))
    else:
        async with AsyncClient(plan.address, timeout_s=ANSWER_S) as client:
            await client.health()
            await _require_speaker(client, plan)
    await asking.connect(1)
    try:
        await asking.ask(0)
    except (NotFound, NotOffered, NotReachable):
        raise
    except SpeakerdError:
        pass
    finally:
        await asking.close()


async def _require_speaker(client: AsyncClient, plan: LivePlan | ClosedPlan) -> None:
    """Refuse an unknown speaker: each call would end well with SPEAKER_NOT_ENROLLED."""
    if plan.speaker_id is not None:
        await client.get_speaker(plan.speaker_id, domain=plan.options.get("domain", ""))
