"""Who is in which group, in memory, so that a search can look among a group's members alone."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from speakerd_server.errors import DomainUnknown, GroupUnknown


class Members:
    """The members of one group. A new object for every change, so that it can stand for a state."""

    def __init__(self, speaker_ids: Iterable[str] = ()) -> None:
        self.speaker_ids = frozenset(speaker_ids)

    def __len__(self) -> int:
        return len(self.speaker_ids)

    def __iter__(self) -> Iterator[str]:
        return iter(self.speaker_ids)


class Groups:
    """The groups of every domain. Reads take no lock; changes are made one at a time.

    Methods raise DomainUnknown, but for those that change something: a KeyError there is a mistake
    of the caller.
    """

    def __init__(self, domains: Iterable[str]) -> None:
        self._groups: dict[str, dict[str, Members]] = {name: {} for name in domains}
        self._of: dict[str, dict[str, frozenset[str]]] = {name: {} for name in domains}

    def count(self, domain: str) -> int:
        """Give the number of groups in a domain."""
        return len(self._in(domain))

    def members(self, domain: str, name: str) -> Members | None:
        """Give who is in a group; None: there is no such group."""
        return self._in(domain).get(name)

    def known(self, domain: str, name: str) -> Members:
        """Give who is in a group; raises GroupUnknown."""
        members = self.members(domain, name)
        if members is None:
            raise GroupUnknown(domain, name)
        return members

    def of(self, domain: str, speaker_id: str) -> tuple[str, ...]:
        """Give the groups that a speaker is in, by name."""
        return tuple(sorted(self._of[domain].get(speaker_id, ())))

    def put(self, domain: str, name: str, speaker_ids: Collection[str]) -> None:
        """Make a group known with these members, whoever they were before."""
        before = self._groups[domain].get(name, Members()).speaker_ids
        after = Members(speaker_ids)
        self._groups[domain][name] = after
        for speaker_id in before - after.speaker_ids:
            self._leave(domain, speaker_id, name)
        of = self._of[domain]
        for speaker_id in after.speaker_ids - before:
            of[speaker_id] = of.get(speaker_id, frozenset()) | {name}

    def remove(self, domain: str, name: str) -> None:
        """Forget a group."""
        for speaker_id in self._groups[domain].pop(name):
            self._leave(domain, speaker_id, name)

    def remove_speaker(self, domain: str, speaker_id: str) -> None:
        """Take a speaker out of every group."""
        for name in self._of[domain].pop(speaker_id, frozenset()):
            members = self._groups[domain][name]
            self._groups[domain][name] = Members(members.speaker_ids - {speaker_id})

    def _in(self, domain: str) -> dict[str, Members]:
        if domain not in self._groups:
            raise DomainUnknown(domain)
        return self._groups[domain]

    def _leave(self, domain: str, speaker_id: str, name: str) -> None:
        of = self._of[domain]
        of[speaker_id] -= {name}
        if not of[speaker_id]:
            del of[speaker_id]
