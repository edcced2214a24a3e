"""Groups of enrolled speakers: the record on disk and the members in memory, kept as one."""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence

from speakerd_server.enrolled import Group
from speakerd_server.errors import (
    GroupExists,
    PageTokenInvalid,
    SpeakerOptedOut,
    SpeakerUnknown,
    StoreCorrupt,
    TooManyGroups,
    TooManyMembers,
    TooManyMemberships,
)
from speakerd_server.store.faiss_index import VoiceprintIndex
from speakerd_server.store.group_record import GroupRecord
from speakerd_server.store.ids import check_group_name, encodable
from speakerd_server.store.members import Groups
from speakerd_server.store.sqlite import SqliteRecord
from speakerd_server.values import SpeakerState

MAXIMUM_GROUPS = 100_000
"""Of one domain: every household may be a group."""
MAXIMUM_MEMBERS = 10_000
"""Of one group: beyond, the whole domain is what is meant."""
MAXIMUM_MEMBERSHIPS = 100
"""Of one speaker."""


class Joining:
    """One speaker who becomes a member of a group beside another change of the store.

    Raises GroupUnknown, TooManyMembers and TooManyMemberships at once.

    Args:
        groups: In memory.
        domain: Of both.
        speaker_id: Known when the change is recorded.
        group: None: there is nothing to do.
    """

    def __init__(self, groups: Groups, domain: str, speaker_id: str, group: str | None) -> None:
        self._groups, self._domain, self._group = groups, domain, group
        self._speaker_id = speaker_id
        before = frozenset[str]() if group is None else groups.known(domain, group).speaker_ids
        self._members = before | {speaker_id}
        if group is not None and len(self._members) > max(MAXIMUM_MEMBERS, len(before)):
            raise TooManyMembers(group, MAXIMUM_MEMBERS)
        if group is not None and speaker_id not in before:
            check_memberships(groups, domain, speaker_id)

    def record(self, record: GroupRecord) -> None:
        """Write it, inside the transaction of the other change."""
        if self._group is not None:
            record.update(self._domain, self._group, [self._speaker_id], [])

    def done(self) -> None:
        """Make it known, once it is on disk."""
        if self._group is not None:
            self._groups.put(self._domain, self._group, self._members)


def check_memberships(groups: Groups, domain: str, speaker_id: str) -> None:
    """Raise TooManyMemberships where a speaker can join no further group."""
    if len(groups.of(domain, speaker_id)) >= MAXIMUM_MEMBERSHIPS:
        raise TooManyMemberships(speaker_id, MAXIMUM_MEMBERSHIPS)


class GroupAdministration:
    """Groups of an open store.

    Methods raise what the store's changes do besides what each says, and then nothing was changed;
    each raises DomainUnknown.

    Args:
        record: On disk.
        index: In memory.
        lock: Held while either is changed or read together.
    """

    def __init__(self, record: SqliteRecord, index: VoiceprintIndex, lock: threading.Lock) -> None:
        self._record, self._index, self._lock = record, index, lock

    def create(self, domain: str, name: str) -> Group:
        """Make an empty group; raises GroupNameInvalid, GroupExists and TooManyGroups."""
        check_group_name(name)
        with self._lock:
            if self._index.groups.members(domain, name) is not None:
                raise GroupExists(domain, name)
            if self._index.groups.count(domain) >= MAXIMUM_GROUPS:
                raise TooManyGroups(domain, MAXIMUM_GROUPS)
            with self._record.transaction():
                self._record.groups.create(domain, name)
                group = self._recorded(domain, name)
            self._index.groups.put(domain, name, ())
        return group

    def update(
        self, domain: str, name: str, added: Collection[str], removed: Collection[str]
    ) -> Group:
        """Add speakers to a group and remove members; all of it or nothing.

        Who is in it already, or is none of it, stays so; who is named on both sides is removed.
        Raises GroupUnknown, TooManyMembers, and for who is added SpeakerUnknown, SpeakerOptedOut
        and TooManyMemberships.
        """
        with self._lock:
            before = self._index.groups.known(domain, name).speaker_ids
            after = (before | frozenset(added)) - frozenset(removed)
            for speaker_id in sorted(after - before):
                self._check_speaker(domain, speaker_id)
                check_memberships(self._index.groups, domain, speaker_id)
            if len(after) > max(MAXIMUM_MEMBERS, len(before)):
                raise TooManyMembers(name, MAXIMUM_MEMBERS)
            with self._record.transaction():
                self._record.groups.update(domain, name, after - before, before - after)
                group = self._recorded(domain, name)
            self._index.groups.put(domain, name, after)
        return group

    def _check_speaker(self, domain: str, speaker_id: str) -> None:
        match self._index.state(domain, speaker_id):
            case None:
                raise SpeakerUnknown(domain, speaker_id)
            case SpeakerState.OPTED_OUT:
                raise SpeakerOptedOut(speaker_id)

    def delete(self, domain: str, name: str) -> int:
        """Remove a group, whose members stay enrolled; give their number. Raises GroupUnknown."""
        with self._lock:
            self._index.groups.known(domain, name)
            with self._record.transaction():
                count = self._record.groups.delete(domain, name)
            self._index.groups.remove(domain, name)
        return count

    def group(self, domain: str, name: str) -> Group:
        """Give one group with its members; raises GroupUnknown."""
        with self._lock:
            self._index.groups.known(domain, name)
            return self._recorded(domain, name)

    def groups(self, domain: str, after: str | None, limit: int) -> Sequence[Group]:
        """Give at most `limit` groups with a name beyond `after`, in code point order.

        Raises PageTokenInvalid where `after` cannot be a name.
        """
        if limit < 1:
            raise ValueError(f"limit is {limit}, not 1 or more")
        if after is not None and not encodable(after):
            raise PageTokenInvalid
        self._index.groups.count(domain)
        with self._lock:
            return self._record.groups.groups(domain, after or "", limit)

    def _recorded(self, domain: str, name: str) -> Group:
        group = self._record.groups.group(domain, name)
        if group is None:
            raise StoreCorrupt(self._record.path, f"group {name!r} has vanished from it")
        return group
