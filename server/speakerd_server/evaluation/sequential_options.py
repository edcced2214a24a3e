"""What `speakerd evaluate --sequential` is asked for: its options, checked together."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from speakerd_server.errors import OptionInvalid
from speakerd_server.evaluation.further import LEAST_DRAWS, check_own_card
from speakerd_server.evaluation.joined_calls import Dealing
from speakerd_server.evaluation.over_telephone import BY_TELEPHONE
from speakerd_server.evaluation.score_files import make_folder
from speakerd_server.evaluation.wanted import Wanted
from speakerd_server.models.boundaries import HIGHEST_RATE
from speakerd_server.sequential import PROFILES
from speakerd_server.windows.arithmetic import WHOLE_SIGNAL

DEFAULT_MAXIMUM_S = 20
DEFAULT_ENROLL_S = 10.0
DEFAULT_ROUNDS = 6
_SHARED = ("profile_name", "fitted_on", "into_card", "over_telephone")
"""Options that calibrations have too."""


@dataclass(frozen=True, slots=True)
class SequentialOptions:
    """The options by their names; None where one was not given."""

    sequential: bool
    """Learn boundaries."""
    target_far: float | None
    """Share of impostor calls that may ever be accepted."""
    target_frr: float | None
    """Share of the true speakers' calls that may ever be rejected."""
    maximum_speech: int | None
    """Net speech of a call, in seconds."""
    enroll_speech: float | None
    """Least audio of an enrolment, in seconds."""
    rounds: int | None
    """Times that each person's recordings are dealt."""
    cohort_wav_scp: Path | None
    """Recordings of other people, one of each."""
    all_audio: bool
    """Hear everything, and not speech alone as daemons do by themselves."""
    over_telephone: str | None
    """calls or both: what is sent over a simulated line."""
    boundaries_output: Path | None
    """File that the boundaries are written to."""
    profile_name: str | None
    """Bands of both sides."""
    fitted_on: str | None
    """What the boundaries say that they were learnt from."""
    into_card: bool
    """Write them into the model's card."""

    @classmethod
    def taken_from(cls, given: dict[str, Any]) -> SequentialOptions:
        """Take these options out of all that were given; what is shared stays for calibrations."""
        is_wanted, for_both = given["sequential"], given["calibrate"]
        taken = {}
        for one in fields(cls):
            name = one.name
            if name not in (*_SHARED, "target_far"):
                taken[name] = given.pop(name)
            elif is_wanted:
                taken[name] = given[name]
                given[name] = given[name] if for_both and name in _SHARED else None
            else:
                taken[name] = None
        given["into_card"] = bool(given["into_card"])
        taken["into_card"] = bool(taken["into_card"])
        return cls(**taken)

    @property
    def profile(self) -> str:
        """Name of what is learnt."""
        return self.profile_name or BY_TELEPHONE[self.over_telephone]

    def dealing(self, seed: int) -> Dealing:
        """Give how recordings are dealt."""
        return Dealing(
            rounds=DEFAULT_ROUNDS if self.rounds is None else self.rounds,
            enroll_s=DEFAULT_ENROLL_S if self.enroll_speech is None else self.enroll_speech,
            maximum_s=DEFAULT_MAXIMUM_S if self.maximum_speech is None else self.maximum_speech,
            seed=seed,
        )

    def check(self, wanted: Wanted) -> None:
        """Refuse what contradicts itself, early; raises OptionInvalid and OutputUnusable."""
        if not self.sequential:
            given = [one.name for one in fields(self) if getattr(self, one.name)]
            if given:
                raise OptionInvalid(f"--{given[0].replace('_', '-')}", "it needs --sequential")
            return
        self._check_material(wanted)
        self._check_numbers(wanted)
        if self.profile not in PROFILES:
            problem = f"of boundaries it is one of {', '.join(PROFILES)}"
            raise OptionInvalid("--profile-name", problem)
        if self.into_card:
            check_own_card(wanted.model, "--boundaries-output")
        if self.boundaries_output is not None:
            make_folder(self.boundaries_output.parent)

    def _check_numbers(self, wanted: Wanted) -> None:
        dealing = self.dealing(wanted.seed)
        for option, value, lowest, highest in (
            ("--target-far", self.target_far, 0.0001, HIGHEST_RATE),
            ("--target-frr", self.target_frr, 0.0001, HIGHEST_RATE),
            ("--maximum-speech", dealing.maximum_s, 1, 600),
            ("--enroll-speech", dealing.enroll_s, 0.1, 600.0),
            ("--rounds", dealing.rounds, 1, 1000),
        ):
            if value is None:
                raise OptionInvalid(option, "--sequential needs it")
            if not lowest <= value <= highest:
                raise OptionInvalid(option, f"{value:g} is not {lowest:g} to {highest:g}")

    def _check_material(self, wanted: Wanted) -> None:
        for option, is_wrong, problem in (
            ("--sequential", wanted.wav_scp is None, "it needs --wav-scp, to join calls"),
            ("--cohort-wav-scp", self.cohort_wav_scp is None, "--sequential needs it"),
            (
                "--samples-per-chunk",
                wanted.samples_per_chunk == WHOLE_SIGNAL,
                "--sequential looks at windows, so it cannot be -1",
            ),
            (
                "--mean-scp" if wanted.mean_scp else "--mean-vec",
                bool(wanted.mean_scp or wanted.mean_vec),
                "--sequential is for live calls, where no mean is taken off",
            ),
            (
                "--bootstrap",
                wanted.bootstrap < LEAST_DRAWS,
                f"--sequential needs at least {LEAST_DRAWS} draws",
            ),
        ):
            if is_wrong:
                raise OptionInvalid(option, problem)
