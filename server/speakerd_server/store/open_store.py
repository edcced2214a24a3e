"""An open store: the record on disk and the voiceprints in memory, and what is read of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speakerd_server.enrolled import NewRecording, Speaker, Voiceprint
from speakerd_server.errors import (
    DomainUnknown,
    PageTokenInvalid,
    SpeakerOptedOut,
    SpeakerUnknown,
    StoreCorrupt,
)
from speakerd_server.store.answers import SearchResult
from speakerd_server.store.expiry import ExpirySettings
from speakerd_server.store.groups import GroupAdministration
from speakerd_server.store.ids import encodable
from speakerd_server.store.reading import read_index
from speakerd_server.store.sqlite import SqliteRecord
from speakerd_server.store.voiceprint import voiceprint_for
from speakerd_server.values import ModelIdentity, SpeakerState


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """Where the enrolments are kept."""

    path: Path = Path("speakerd.db")
    """Database file, made where absent; its folder must exist and be writable."""


class OpenStore:
    """What is read, and what changes have in common.

    `speaker` and `speakers` wait for the disk; they may be called from any thread and raise
    StoreUnavailable or StoreCorrupt. `voiceprint`, `state` and `count` read memory and never wait;
    `search` waits for other searches at most. Each raises DomainUnknown.
    """

    def __init__(
        self,
        settings: StoreSettings,
        domains: Sequence[str],
        expiry: ExpirySettings | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Open or create the store and read it.

        `clock` gives seconds since 1970 UTC. Raises StoreUnusable, StoreCorrupt, and SettingInvalid
        for an expiry of a domain that does not exist.
        """
        self._record_lock = threading.Lock()
        self._rules, self._clock = (expiry or ExpirySettings()).rules(domains), clock
        self.record = SqliteRecord(settings.path, clock)
        try:
            self.index = read_index(self.record, self._rules, clock)
        except BaseException:
            self.record.close()
            raise
        self.groups = GroupAdministration(self.record, self.index, self._record_lock)

    def speaker(self, domain: str, speaker_id: str) -> Speaker:
        """Give one speaker with all recordings; raises SpeakerUnknown."""
        self._check_domain(domain)
        with self._record_lock:
            self._check_known(domain, speaker_id)
            return self._recorded(domain, speaker_id)

    def speakers(self, domain: str, after: str | None, limit: int) -> list[Speaker]:
        """Give at most `limit` speakers with an id beyond `after`, in code point order.

        Raises PageTokenInvalid where `after` cannot be an id.
        """
        self._check_domain(domain)
        if limit < 1:
            raise ValueError(f"limit is {limit}, not 1 or more")
        if after is not None and not encodable(after):
            raise PageTokenInvalid
        with self._record_lock:
            found = self.record.speakers(domain, after or "", limit)
        return [self._with_expiry(one) for one in found]

    def count(self) -> int:
        """Give the number of speakers in the domains of the settings."""
        return self.index.count()

    def is_anyone(self, domain: str, model: ModelIdentity, group: str | None = None) -> bool:
        """Tell whether a search would compare with anyone; raises GroupUnknown."""
        self._check_domain(domain)
        return self.index.is_anyone(domain, model, group)

    def check_group(self, domain: str, group: str) -> None:
        """Raise GroupUnknown unless the domain has this group."""
        self.index.groups.known(domain, group)

    def voiceprint(self, domain: str, speaker_id: str, model: ModelIdentity) -> Voiceprint | None:
        """Give a speaker's voiceprint; None: there is none. Raises ModelMismatch."""
        self._check_domain(domain)
        return self.index.voiceprint(domain, speaker_id, model)

    def state(self, domain: str, speaker_id: str) -> SpeakerState | None:
        """Give where a speaker stands; None: unknown."""
        self._check_domain(domain)
        return self.index.state(domain, speaker_id)

    def search(
        self,
        domain: str,
        model: ModelIdentity,
        embedding: NDArray[np.floating],
        top_k: int,
        group: str | None = None,
    ) -> SearchResult:
        """Give the top_k speakers enrolled with this model most alike to a float[dim].

        With a group, among its members. Scores are exact cosines. Raises GroupUnknown, and
        ValueError for an embedding of zeros, NaN or another length, and for top_k below 1.
        """
        self._check_domain(domain)
        return self.index.search(domain, model, embedding, top_k, group)

    def close(self) -> None:
        """Let go of the file; later changes raise StoreUnavailable."""
        with self._record_lock:
            self.record.close()

    def _make_known(self, domain: str, speaker_id: str, recordings: Sequence[NewRecording]) -> None:
        """Make the voiceprint of recordings that are on disk the one that is compared."""
        expires = self._expires(domain, speaker_id)
        self.index.put(domain, speaker_id, voiceprint_for(speaker_id, recordings, expires))

    def _expires(self, domain: str, speaker_id: str) -> float | None:
        age = self.record.ages(domain, speaker_id).get((domain, speaker_id))
        return None if age is None else self._rules[domain].expires(*age)

    def _finish_pending_erasure(self) -> None:
        if self.record.erasure_pending:
            self.record.finish_erasure()

    def _recorded(self, domain: str, speaker_id: str) -> Speaker:
        speaker = self.record.speaker(domain, speaker_id)
        if speaker is None:
            raise StoreCorrupt(self.record.path, f"speaker {speaker_id!r} has vanished from it")
        return self._with_expiry(speaker)

    def _with_expiry(self, speaker: Speaker) -> Speaker:
        """Say when the voiceprint expires, and whether it has."""
        if not speaker.recordings or speaker.state is SpeakerState.OPTED_OUT:
            return speaker
        newest = max(one.created_unix_s for one in speaker.recordings)
        expires = self._rules[speaker.domain].expires(newest, speaker.last_used_unix_s)
        is_expired = expires is not None and self._clock() >= expires
        state = SpeakerState.EXPIRED if is_expired else speaker.state
        return replace(speaker, state=state, expires_unix_s=expires)

    def _check_domain(self, domain: str) -> None:
        if domain not in self._rules:
            raise DomainUnknown(domain)

    def _check_known(self, domain: str, speaker_id: str) -> None:
        if self.index.state(domain, speaker_id) is None:
            raise SpeakerUnknown(domain, speaker_id)

    def _check_not_opted_out(self, domain: str, speaker_id: str) -> None:
        if self.index.state(domain, speaker_id) is SpeakerState.OPTED_OUT:
            raise SpeakerOptedOut(speaker_id)
