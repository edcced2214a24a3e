"""Whom a voice may be, beside speaker ids, and who else is looked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Everyone:
    """The target of an identification: anyone enrolled in the domain."""

    top_k: int = 5
    """How many of the most alike speakers to return, 1 to 100."""


@dataclass(frozen=True, slots=True)
class MembersOf:
    """The target of an identification among the members of one group of the domain."""

    group: str
    """Its name."""
    top_k: int = 5
    """How many of the most alike members to return, 1 to 100."""


@dataclass(frozen=True, slots=True)
class Watchlists:
    """Groups to look through beside the target; they never change the decision about it."""

    groups: Sequence[str]
    """1 to 10 names of groups of the domain."""
    hit_at: float | None = None
    """A member is a hit at this score or above, on the policy's scale; None: the threshold at
    which a claim is accepted."""

    def __post_init__(self) -> None:
        """Raise TypeError for one name where a sequence of names is meant."""
        names = 'a sequence of names of groups, such as ("fraud",)'
        if isinstance(self.groups, str):
            raise TypeError(f"groups must be {names}, not one name")


Target = str | Sequence[str] | Everyone | MembersOf | None
"""One claimed speaker id, several, anyone enrolled, anyone of a group, or nobody."""
