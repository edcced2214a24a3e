"""The two voices of a comparison, as a scorer takes them."""

from __future__ import annotations

from speakerd_server.cards import Card
from speakerd_server.enrolled import Voiceprint
from speakerd_server.score.scales import Side
from speakerd_server.values import Utterance


def enrolled_side(voiceprint: Voiceprint, card: Card) -> Side:
    """Give the side that is enrolled."""
    speech_s = voiceprint.speech_samples / card.sample_rate_hz
    return Side(voiceprint.vector, voiceprint.band, speech_s)


def heard_side(utterance: Utterance, card: Card) -> Side | None:
    """Give the side that every voiceprint is compared with; None: nothing was heard yet."""
    if not utterance.window_count:
        return None
    return Side(utterance.mean, utterance.band, utterance.speech_samples / card.sample_rate_hz)
