"""When voiceprints expire: by the age of the newest recording, and by when they were last used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from speakerd_server.errors import SettingInvalid

DAY_S = 86_400.0
_DAYS = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}=[0-9]{1,6}(\.[0-9]{1,9})?"
_OF = {
    "may_be_empty": True,
    "each": _DAYS,
    "written": "write DOMAIN=DAYS, such as bank=365; 0 days: never",
}


@dataclass(frozen=True, slots=True)
class ExpiryRule:
    """When the voiceprints of one domain expire."""

    age_s: float | None = None
    """So long after the newest recording; None: never."""
    unused_s: float | None = None
    """So long after the last accepted verification, or the newest recording; None: never."""

    def expires(self, newest_unix_s: float, last_used_unix_s: float | None) -> float | None:
        """Give the moment from which on a voiceprint is expired; None: never.

        Args:
            newest_unix_s: When its newest recording was stored, seconds since 1970 UTC.
            last_used_unix_s: When it was last accepted; None: never.
        """
        used = max(newest_unix_s, last_used_unix_s or newest_unix_s)
        moments = []
        if self.age_s is not None:
            moments.append(newest_unix_s + self.age_s)
        if self.unused_s is not None:
            moments.append(used + self.unused_s)
        return min(moments, default=None)


NEVER = ExpiryRule()


@dataclass(frozen=True, slots=True)
class ExpirySettings:
    """When voiceprints expire, so that the person has to be enrolled anew."""

    age_days: float = field(default=0.0, metadata={"minimum": 0.0, "maximum": 1_000_000.0})
    """Days after the newest recording; 0: never."""
    unused_days: float = field(default=0.0, metadata={"minimum": 0.0, "maximum": 1_000_000.0})
    """Days without a verification that accepts the speaker, to the hour, a new recording counting
    as one; 0: never."""
    age_days_of: tuple[str, ...] = field(default=(), metadata=_OF)
    """`age_days` of single domains, each as DOMAIN=DAYS."""
    unused_days_of: tuple[str, ...] = field(default=(), metadata=_OF)
    """`unused_days` of single domains, each as DOMAIN=DAYS."""

    def rules(self, domains: Sequence[str]) -> Mapping[str, ExpiryRule]:
        """Give the rule of every domain; raises SettingInvalid for one that does not exist."""
        ages = _by_domain("age_days_of", self.age_days_of, domains)
        unused = _by_domain("unused_days_of", self.unused_days_of, domains)
        return {
            domain: ExpiryRule(
                _seconds(ages.get(domain, self.age_days)),
                _seconds(unused.get(domain, self.unused_days)),
            )
            for domain in domains
        }


def _by_domain(name: str, entries: Sequence[str], domains: Sequence[str]) -> dict[str, float]:
    found: dict[str, float] = {}
    for entry in entries:
        domain, _, days = entry.partition("=")
        if domain not in domains or domain in found:
            problem = "is set twice" if domain in found else "is none of calls.domains"
            raise SettingInvalid(f"expiry.{name}", f"entry {entry}", f"domain {domain!r} {problem}")
        found[domain] = float(days)
    return found


def _seconds(days: float) -> float | None:
    return days * DAY_S if days > 0.0 else None
