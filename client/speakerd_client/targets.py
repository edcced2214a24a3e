"""Whom a voice may be, beside speaker ids."""

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


Target = str | Sequence[str] | Everyone | MembersOf | None
"""One claimed speaker id, several, anyone enrolled, anyone of a group, or nobody."""
