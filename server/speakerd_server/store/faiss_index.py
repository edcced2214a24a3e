"""The voiceprints in memory: one read by id, and the most alike through FAISS."""

from __future__ import annotations

import heapq
import itertools
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable

import faiss
import numpy as np
from numpy.typing import NDArray

from speakerd_server.enrolled import NewRecording, Voiceprint
from speakerd_server.errors import ModelMismatch
from speakerd_server.store.answers import SearchResult
from speakerd_server.store.members import Groups, Members
from speakerd_server.store.voiceprint import direction
from speakerd_server.values import Float32, ModelIdentity, SpeakerState

_SELECTIONS = 64
"""Groups whose rows are kept at hand; 12.5 kB each among 100 000 voiceprints."""


class Shelf:
    """The voiceprints of one domain and model: FAISS's exact inner product, and whose each is.

    The flat index numbers its rows 0 to n-1; `_ids` gives the speaker of each row. (FAISS's own
    id map takes time in proportion to n for every removal, and keeps the removed row's bytes.)
    """

    def __init__(self, dim: int) -> None:
        self.index = faiss.IndexFlatIP(dim)
        self._ids: list[str] = []
        self._rows: dict[str, int] = {}
        self._selections: OrderedDict[Members, tuple[NDArray[np.uint8], int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._ids)

    def put(self, speaker_id: str, vector: Float32) -> None:
        """Add a voiceprint, float32[dim], or write over the one that is there."""
        row = self._rows.get(speaker_id)
        if row is not None:
            self._matrix()[row] = vector
            return
        self._selections.clear()
        self.index.add(vector[None])
        self._rows[speaker_id] = len(self._ids)
        self._ids.append(speaker_id)

    def remove(self, speaker_id: str) -> None:
        """Drop a voiceprint: the last row takes its place, and what is cut off is zeros."""
        self._selections.clear()
        row, last = self._rows.pop(speaker_id), len(self._ids) - 1
        matrix = self._matrix()
        if row != last:
            matrix[row] = matrix[last]
            self._ids[row] = self._ids[last]
            self._rows[self._ids[row]] = row
        matrix[last] = 0.0
        self._ids.pop()
        # remove_ids would ask of every row whether it is the one; thousands may expire at once.
        self.index.codes.resize(last * self.index.code_size)
        self.index.ntotal = last

    def search(self, unit: Float32, top_k: int, among: Members | None) -> SearchResult:
        """Give the most alike to float32[dim] of length 1; None: among all."""
        compared, parameters = len(self), None
        if among is not None:
            selected, compared = self._selection(among)
            selector = faiss.IDSelectorBitmap(selected)  # type: ignore[call-arg, arg-type]
            parameters = faiss.SearchParameters(sel=selector)  # type: ignore[call-arg]
        if compared == 0:
            return SearchResult((), 0)
        cosines, rows = self.index.search(unit[None], min(top_k, compared), params=parameters)
        hits = [
            (self._ids[row], float(np.clip(cosine, -1.0, 1.0)))
            for cosine, row in zip(cosines[0], rows[0], strict=True)
        ]
        return SearchResult(tuple(sorted(hits, key=lambda hit: (-hit[1], hit[0]))), compared)

    def _selection(self, among: Members) -> tuple[NDArray[np.uint8], int]:
        """Give the members' rows as bits, kept until a row moves, and how many there are."""
        kept = self._selections.get(among)
        if kept is None:
            rows = [self._rows[one] for one in among if one in self._rows]
            flags = np.zeros(len(self), np.bool_)
            flags[rows] = True
            kept = np.packbits(flags, bitorder="little"), len(rows)
            self._selections[among] = kept
            if len(self._selections) > _SELECTIONS:
                self._selections.popitem(last=False)
        self._selections.move_to_end(among)
        return kept

    def _matrix(self) -> Float32:
        # A view of FAISS's own memory; it must not outlive the next add.
        view = faiss.rev_swig_ptr(self.index.get_xb(), self.index.ntotal * self.index.d)
        matrix: Float32 = view.reshape(self.index.ntotal, self.index.d)
        return matrix


class VoiceprintIndex:
    """Who is known, by domain. Single reads take no lock and never wait for a search.

    A voiceprint that has expired is neither given nor searched; its speaker stays known.

    Args:
        domains: Nothing crosses from one to another.
        clock: Gives the time, seconds since 1970 UTC.
    """

    def __init__(self, domains: Iterable[str], clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._expiring: list[tuple[float, str, str]] = []
        self._queued: dict[tuple[str, str], float] = {}
        self._known: dict[str, dict[str, Voiceprint | SpeakerState]] = {
            name: {} for name in domains
        }
        self.groups = Groups(self._known)
        self.shelves: dict[tuple[str, ModelIdentity], Shelf] = {}
        self._shelves_lock = threading.Lock()

    def count(self) -> int:
        """Give the number of speakers in all domains."""
        return sum(len(known) for known in self._known.values())

    def is_anyone(self, domain: str, model: ModelIdentity, group: str | None = None) -> bool:
        """Tell whether a domain, or a group of it, has a voiceprint of this model.

        Raises GroupUnknown.
        """
        self._drop_expired()
        if group is None:
            return (domain, model) in self.shelves
        held = (self.held(domain, one) for one in self.groups.known(domain, group))
        return any(one is not None and one.model == model for one in held)

    def check_alike(self, domain: str, speaker_id: str, recordings: Iterable[NewRecording]) -> None:
        """Raise ModelMismatch or ValueError unless all recordings can be in one voiceprint."""
        kinds = [(one.model, one.sum.size) for one in recordings]
        for (first, first_dim), (other, other_dim) in itertools.pairwise(kinds):
            if other != first:
                raise ModelMismatch(speaker_id, str(first), str(other))
            if other_dim != first_dim:
                raise ValueError(f"{first} gave {other_dim} values; {first_dim} are enrolled")
        for model, dim in kinds[:1]:
            shelf = self.shelves.get((domain, model))
            if shelf is not None and shelf.index.d != dim:
                raise ValueError(f"{model} gave {dim} values; {shelf.index.d} are enrolled")

    def put(self, domain: str, speaker_id: str, voiceprint: Voiceprint | None) -> None:
        """Make a speaker known with this voiceprint; None: PENDING. An expired one is not kept."""
        if voiceprint is not None and voiceprint.is_expired(self._clock()):
            self._know(domain, speaker_id, SpeakerState.EXPIRED)
        else:
            self._know(domain, speaker_id, voiceprint or SpeakerState.PENDING)

    def _know(self, domain: str, speaker_id: str, known: Voiceprint | SpeakerState) -> None:
        """Change who is known and what is searched as one, or an expiry comes in between."""
        voiceprint = known if isinstance(known, Voiceprint) else None
        with self._shelves_lock:
            before = self.held(domain, speaker_id)
            self._known[domain][speaker_id] = known
            if before and (voiceprint is None or voiceprint.model != before.model):
                self._take_off(domain, before)
            if voiceprint:
                key = domain, voiceprint.model
                if key not in self.shelves:
                    self.shelves[key] = Shelf(voiceprint.vector.size)
                self.shelves[key].put(speaker_id, voiceprint.vector)
                self._queue(domain, voiceprint)

    def opt_out(self, domain: str, speaker_id: str) -> None:
        """Make a speaker known as OPTED_OUT, without a voiceprint and in no group."""
        self._know(domain, speaker_id, SpeakerState.OPTED_OUT)
        self.groups.remove_speaker(domain, speaker_id)

    def remove(self, domain: str, speaker_id: str) -> None:
        """Forget a speaker."""
        self.groups.remove_speaker(domain, speaker_id)
        with self._shelves_lock:
            before = self.held(domain, speaker_id)
            del self._known[domain][speaker_id]
            if before:
                self._take_off(domain, before)

    def _take_off(self, domain: str, voiceprint: Voiceprint) -> None:
        shelf = self.shelves[domain, voiceprint.model]
        shelf.remove(voiceprint.speaker_id)
        if not shelf:
            del self.shelves[domain, voiceprint.model]

    def _queue(self, domain: str, voiceprint: Voiceprint) -> None:
        """Remember when to look at a voiceprint; a later moment than the one kept can wait."""
        key, expires = (domain, voiceprint.speaker_id), voiceprint.expires_unix_s
        if expires is not None and expires < self._queued.get(key, math.inf):
            self._queued[key] = expires
            heapq.heappush(self._expiring, (expires, *key))

    def _drop_expired(self) -> None:
        now = self._clock()
        if not self._expiring or self._expiring[0][0] > now:
            return
        with self._shelves_lock:
            while self._expiring and self._expiring[0][0] <= now:
                when, domain, speaker_id = heapq.heappop(self._expiring)
                if self._queued.get((domain, speaker_id)) == when:
                    del self._queued[domain, speaker_id]
                held = self.held(domain, speaker_id)
                if held is not None and held.is_expired(now):
                    self._known[domain][speaker_id] = SpeakerState.EXPIRED
                    self._take_off(domain, held)
                elif held is not None:  # enrolled or used since then
                    self._queue(domain, held)

    def state(self, domain: str, speaker_id: str) -> SpeakerState | None:
        """Give where a speaker stands; None: unknown."""
        known = self._known[domain].get(speaker_id)
        if not isinstance(known, Voiceprint):
            return known
        is_expired = known.is_expired(self._clock())
        return SpeakerState.EXPIRED if is_expired else SpeakerState.ENROLLED

    def held(self, domain: str, speaker_id: str) -> Voiceprint | None:
        """Give a voiceprint of whichever model; None: there is none."""
        known = self._known[domain].get(speaker_id)
        return known if isinstance(known, Voiceprint) else None

    def voiceprint(self, domain: str, speaker_id: str, model: ModelIdentity) -> Voiceprint | None:
        """Give a voiceprint; None: there is none that can be used. Raises ModelMismatch."""
        voiceprint = self.held(domain, speaker_id)
        if voiceprint is None or voiceprint.is_expired(self._clock()):
            return None
        if voiceprint.model != model:
            raise ModelMismatch(speaker_id, str(voiceprint.model), str(model))
        return voiceprint

    def search(
        self,
        domain: str,
        model: ModelIdentity,
        embedding: NDArray[np.floating],
        top_k: int,
        group: str | None = None,
    ) -> SearchResult:
        """Give the top_k voiceprints of a domain and model most alike to a float[dim].

        With a group, among its members. Raises GroupUnknown, and ValueError for an embedding of
        zeros, NaN or another length, and top_k below 1.
        """
        among = None if group is None else self.groups.known(domain, group)
        values = np.asarray(embedding, np.float64)
        if values.ndim != 1 or not np.isfinite(values).all() or not values.any() or top_k < 1:
            raise ValueError("a search needs a finite, non-zero float[dim] and top_k of 1 or more")
        unit = direction(values).astype(np.float32)
        self._drop_expired()
        with self._shelves_lock:
            shelf = self.shelves.get((domain, model))
            if shelf is None:
                return SearchResult((), 0)
            if shelf.index.d != unit.size:
                raise ValueError(f"the embedding has {unit.size} values, not {shelf.index.d}")
            return shelf.search(unit, top_k, among)
