"""From the record on disk to the voiceprints in memory, once, when a store is opened."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from speakerd_server.errors import ModelMismatch, StoreCorrupt
from speakerd_server.store.expiry import ExpiryRule
from speakerd_server.store.faiss_index import VoiceprintIndex
from speakerd_server.store.sqlite import SqliteRecord
from speakerd_server.store.voiceprint import voiceprint_for

_logger = logging.getLogger(__name__)


def read_index(
    record: SqliteRecord, rules: Mapping[str, ExpiryRule], clock: Callable[[], float]
) -> VoiceprintIndex:
    """Give everyone of the domains that have a rule; others are passed over.

    Raises StoreCorrupt.
    """
    index, not_served, ages = VoiceprintIndex(rules, clock), 0, record.ages()
    for domain, speaker_id, recordings in record.everyone():
        if domain not in rules:
            not_served += 1
            continue
        try:
            index.check_alike(domain, speaker_id, recordings)
            expires = None
            if recordings:
                expires = rules[domain].expires(*ages[domain, speaker_id])
        except (ModelMismatch, ValueError, TypeError, KeyError) as error:
            raise StoreCorrupt(record.path, str(error)) from error
        index.put(domain, speaker_id, voiceprint_for(speaker_id, recordings, expires))
    if not_served:
        _logger.warning("%d speakers are in domains that the settings lack", not_served)
    _read_states(record, rules, index)
    return index


def _read_states(
    record: SqliteRecord, domains: Mapping[str, ExpiryRule], index: VoiceprintIndex
) -> None:
    for domain, speaker_id in record.opted_out():
        if domain in domains:
            index.opt_out(domain, speaker_id)
    for group in record.groups.everything():
        if group.domain in domains:
            index.groups.put(group.domain, group.name, group.speaker_ids)
