"""What an evaluation is asked for: the options of `speakerd evaluate`, checked together."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from speakerd_server.errors import OptionInvalid
from speakerd_server.evaluation.measured import Application

DEFAULT_TOP_N = 300
DEFAULT_P_TARGETS = (0.01, 0.005)
SHORTEST_CUT_S = 0.1
LONGEST_CUT_S = 3600.0
MOST_CUTS = 20
MOST_DRAWS = 100_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """The options by their names; None where one was not given."""

    trials: tuple[Path, ...]
    """Lists, each measured alone."""
    scp: Path | None = None
    """Embeddings; this or wav_scp."""
    wav_scp: Path | None = None
    """Recordings to embed; this or scp."""
    wav_root: Path | None = None
    """Folder of relative paths in wav_scp."""
    channel: int | None = None
    """Of recordings with several, from 0."""
    raw: str | None = None
    """Of recordings without a header: encoding, rate and channels, such as pcm16le:8000."""
    samples_per_chunk: int | None = None
    """Window length in samples at the model's rate, or -1."""
    threads: int | None = None
    """Recordings worked on at once."""
    model: str | None = None
    """Embeds wav_scp; with scp, what is said to have made the embeddings."""
    mean_scp: Path | None = None
    """Embeddings whose mean is taken off."""
    mean_vec: Path | None = None
    """The mean itself, npy."""
    cohort_scp: Path | None = None
    """Embeddings of impostors."""
    norm: str | None = None
    """asnorm or snorm."""
    top_n: int | None = None
    """Of the cohort, with asnorm."""
    utt2spk: Path | None = None
    """Who speaks."""
    p_target: tuple[float, ...] = ()
    """Priors of a target; empty: DEFAULT_P_TARGETS."""
    c_miss: float = 1.0
    """Cost of a missed target."""
    c_fa: float = 1.0
    """Cost of a false accept."""
    durations: str | None = None
    """Seconds, with commas between them."""
    over_telephone: str | None = None
    """calls or both: what is sent over a simulated line."""
    bootstrap: int = 1000
    """Draws of speakers; 0: no intervals."""
    seed: int = 0
    """Of the draws."""
    output: Path | None = None
    """Folder for score files."""

    @property
    def durations_s(self) -> tuple[float, ...]:
        """Seconds of the cuts, rising, each once; raises OptionInvalid."""
        if self.durations is None:
            return ()
        try:
            seconds = sorted({float(one) for one in self.durations.split(",")})
        except ValueError as error:
            problem = f"{self.durations!r} is not a list of seconds such as 1,2,4,8"
            raise OptionInvalid("--durations", problem) from error
        if not all(SHORTEST_CUT_S <= one <= LONGEST_CUT_S for one in seconds):
            problem = f"each must be {SHORTEST_CUT_S:g} to {LONGEST_CUT_S:g} seconds"
            raise OptionInvalid("--durations", problem)
        if len(seconds) > MOST_CUTS:
            raise OptionInvalid("--durations", f"at most {MOST_CUTS} lengths")
        return tuple(seconds)

    @property
    def applications(self) -> list[Application]:
        """The costs to measure, one for each prior."""
        priors = dict.fromkeys(self.p_target or DEFAULT_P_TARGETS)
        return [Application(prior, self.c_miss, self.c_fa) for prior in priors]

    @property
    def cohort_top_n(self) -> int | None:
        """How many of the cohort are taken; None: all."""
        if self.norm == "snorm":
            return None
        return DEFAULT_TOP_N if self.top_n is None else self.top_n

    def check(self) -> None:
        """Raise OptionInvalid where an option is out of its range or contradicts another."""
        self._check_sources()
        self._check_numbers()
        _ = self.durations_s
        if self.output is not None:
            names = Counter(path.name for path in self.trials)
            name, count = names.most_common(1)[0]
            if count > 1:
                problem = f"{count} lists are named {name}; their score files would be one"
                raise OptionInvalid("--trials", problem)

    def _check_sources(self) -> None:
        if (self.scp is None) == (self.wav_scp is None):
            raise OptionInvalid("--scp", "give either this or --wav-scp")
        if self.mean_scp is not None and self.mean_vec is not None:
            raise OptionInvalid("--mean-scp", "give this or --mean-vec, not both")
        of_audio = (
            "wav_root",
            "channel",
            "raw",
            "samples_per_chunk",
            "threads",
            "durations",
            "over_telephone",
        )
        self._check_needs("--wav-scp", self.wav_scp, of_audio)
        self._check_needs("--cohort-scp", self.cohort_scp, ("norm", "top_n"))
        if self.norm == "snorm" and self.top_n is not None:
            raise OptionInvalid("--top-n", "snorm takes all of the cohort; leave this out")

    def _check_needs(self, needed: str, given: Path | None, names: tuple[str, ...]) -> None:
        """Raise for the first option that means nothing without another one."""
        for name in names:
            if given is None and getattr(self, name) is not None:
                raise OptionInvalid(f"--{name.replace('_', '-')}", f"it needs {needed}")

    def _check_numbers(self) -> None:
        for prior in self.p_target:
            if not 0.0 < prior < 1.0:
                raise OptionInvalid("--p-target", f"{prior:g} is not between 0 and 1")
        for option, cost in (("--c-miss", self.c_miss), ("--c-fa", self.c_fa)):
            if not (cost > 0.0 and math.isfinite(cost)):
                raise OptionInvalid(option, f"{cost:g} is not a positive number")
        for option, value, lowest, highest in (
            ("--top-n", self.top_n, 2, None),
            ("--threads", self.threads, 1, 256),
            ("--channel", self.channel, 0, None),
            ("--bootstrap", self.bootstrap, 0, MOST_DRAWS),
            ("--seed", self.seed, 0, None),
        ):
            if value is not None and not lowest <= value <= (
                math.inf if highest is None else highest
            ):
                to = " or more" if highest is None else f" to {highest}"
                raise OptionInvalid(option, f"{value} is not {lowest}{to}")
