"""How far the best of several speakers leads the second, and what a policy makes of it."""

from __future__ import annotations

import math
from dataclasses import replace

from speakerd_server.errors import PolicyInvalid
from speakerd_server.values import Decision, Policy, ScoreScale, Verdict


def check_margin(minimum_margin: float, scale: ScoreScale, *, searched: bool) -> None:
    """Raise PolicyInvalid for a minimum margin that cannot be, or that would never be looked at.

    Args:
        minimum_margin: Least lead of the best speaker over the second, on `scale`; 0: none.
        scale: The policy's.
        searched: Whether the best is looked for among many, so that there is a second.
    """
    lowest, highest = scale.of_cosine(-1.0), scale.of_cosine(1.0)
    widest = math.inf if lowest is None or highest is None else highest - lowest
    if not 0.0 <= minimum_margin <= widest or math.isinf(minimum_margin):
        to = "0 or more" if math.isinf(widest) else f"0 to {widest:g}"
        raise PolicyInvalid(
            "minimum_margin",
            f"{minimum_margin:g} is no difference of scores on the scale {scale.value}, {to}",
        )
    if minimum_margin > 0.0 and not searched:
        raise PolicyInvalid(
            "minimum_margin", "nobody is searched for; leave it unset, or use whole_domain or group"
        )


def with_margin(verdict: Verdict, policy: Policy) -> Verdict:
    """Say the lead of the best speaker over the second; a small one turns an ACCEPT to UNDECIDED.

    The scores and decisions of the speakers stay as they are. With fewer than two speakers who
    have a score there is no margin, and nothing is turned.
    """
    scores = [one.score for one in verdict.scores[:2] if one.score is not None]
    if len(scores) < 2:
        return verdict
    margin = scores[0] - scores[1]
    if verdict.decision is not Decision.ACCEPT or margin >= policy.minimum_margin:
        return replace(verdict, margin=margin)
    first, second = verdict.scores[:2]
    reason = (
        f"{first.speaker_id} leads {second.speaker_id} by {margin:.4f}, less than the minimum"
        f" margin {policy.minimum_margin:.4f}; {verdict.reason}"
    )
    return replace(verdict, decision=Decision.UNDECIDED, reason=reason, margin=margin)
