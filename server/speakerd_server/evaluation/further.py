"""What an evaluation does beyond error rates: fits a calibration, suggests thresholds, reports."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speakerd_server.cards import DEFAULT_PROFILE, Card, LlrCalibration
from speakerd_server.errors import OptionInvalid, ProfileUnusable, TooFewTrials
from speakerd_server.evaluation.calibrate import Fitted, fit
from speakerd_server.evaluation.durations import WHOLE
from speakerd_server.evaluation.evaluated import Evaluated
from speakerd_server.evaluation.evaluating import calibration_for
from speakerd_server.evaluation.measured import Measured
from speakerd_server.evaluation.over_telephone import BY_TELEPHONE
from speakerd_server.evaluation.report import labels, write_report
from speakerd_server.evaluation.report_tables import Shown
from speakerd_server.evaluation.score_files import make_folder
from speakerd_server.evaluation.sequential import Learnt
from speakerd_server.evaluation.thresholds import check_enough, suggest
from speakerd_server.evaluation.trials import Trials
from speakerd_server.evaluation.wanted import Wanted
from speakerd_server.models.bundle import list_shipped
from speakerd_server.models.card import CARD_NAME, read_card
from speakerd_server.models.choice import find_bundle
from speakerd_server.models.profile import add_to_card, read_profile, write_profile
from speakerd_server.values import ScoreScale

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

LEAST_DRAWS = 100
"""Of the bootstrap, for intervals of what is fitted or suggested."""


@dataclass(frozen=True, slots=True)
class Further:
    """The options by their names."""

    calibrate: bool
    """Fit a calibration."""
    with_durations: bool
    """Fit the seconds of speech too."""
    profile_name: str | None
    """Channel type."""
    fitted_on: str | None
    """What the calibration says that it was fitted on."""
    profile_output: Path | None
    """Where the calibration is written."""
    into_card: bool
    """Write it into the model's card."""
    profile: Path | None
    """Calibration to use."""
    target_far: float | None
    """Suggest a threshold for it."""
    report: Path | None
    """Page to write."""

    @classmethod
    def taken_from(cls, given: dict[str, Any]) -> Further:
        """Take these options out of all that were given."""
        return cls(**{name: given.pop(name) for name in (one.name for one in fields(cls))})

    def check(self, wanted: Wanted) -> None:
        """Refuse options that contradict each other and folders that cannot be written, early.

        Raises:
            OptionInvalid: An option contradicts another.
            OutputUnusable: What comes last could not be written.
        """
        for name in ("with_durations", "fitted_on", "profile_output", "into_card"):
            if getattr(self, name) and not self.calibrate:
                raise OptionInvalid(f"--{name.replace('_', '-')}", "it needs --calibrate")
        if self.with_durations and wanted.wav_scp is None:
            raise OptionInvalid("--with-durations", "it needs --wav-scp, to know the durations")
        if self.calibrate and len(wanted.trials) > 1 and wanted.utt2spk is None:
            problem = "of several lists it needs --utt2spk, to leave speakers out of the fit"
            raise OptionInvalid("--calibrate", problem)
        if (self.calibrate or self.target_far is not None) and wanted.bootstrap < LEAST_DRAWS:
            problem = f"--calibrate and --target-far need at least {LEAST_DRAWS} draws"
            raise OptionInvalid("--bootstrap", problem)
        if self.target_far is not None and not 0.0 < self.target_far <= 0.5:
            problem = f"{self.target_far:g} is not above 0 and at most 0.5"
            raise OptionInvalid("--target-far", problem)
        if self.report is not None and self.report.suffix.lower() not in (".html", ".htm"):
            raise OptionInvalid("--report", f"{self.report} does not end in .html")
        self._check_written(wanted)

    def _check_written(self, wanted: Wanted) -> None:
        """Check that what is fitted can say which model it is for, and can be written."""
        if self.profile_name is not None and not self.profile_name.isprintable():
            raise OptionInvalid("--profile-name", "it has characters that cannot be printed")
        for name in ("profile_output", "into_card"):
            if getattr(self, name) and wanted.model is None:
                problem = "--model must say what made the embeddings"
                raise OptionInvalid(f"--{name.replace('_', '-')}", problem)
        if self.into_card:
            check_own_card(wanted.model, "--profile-output")
        for path in filter(None, (self.profile_output, self.report)):
            make_folder(path.parent)

    def check_enough(self, lists: Sequence[Trials]) -> None:
        """Raise TooFewTrials where a list cannot support the wanted rate, before any work."""
        if self.target_far is not None:
            for trials in lists:
                check_enough(self.target_far, int((~trials.target).sum()))

    def calibrations(self, wanted: Wanted) -> tuple[LlrCalibration, ...]:
        """Give those that may be used: the profile's, or else those of the model's card.

        Raises:
            OptionInvalid: The name is of none of the card's, and of none to be fitted.
            ProfileUnusable: The profile is damaged, of another model, channel type or scale.
            ModelUnusable: The model's card cannot be read.
        """
        card = read_card(find_bundle(wanted.model)) if wanted.model is not None else None
        if self.profile is None:
            known = card.calibration.llr if card else ()
            self._check_known([one.profile for one in known])
            return known
        found = read_profile(self.profile, card.identity if card else None, self.profile_name)
        if found.scale is ScoreScale.ASNORM and wanted.cohort_scp is None:
            raise ProfileUnusable(self.profile, "it is of asnorm scores; give --cohort-scp")
        if (found.shorter or found.longer) and wanted.wav_scp is None:
            problem = "it counts with seconds of speech, which only --wav-scp tells"
            raise ProfileUnusable(self.profile, problem)
        return (found,)

    def _check_known(self, names: Sequence[str]) -> None:
        if self.profile_name is not None and self.profile_name not in names and not self.calibrate:
            problem = f"no calibration {self.profile_name} is known: --model says whose they are,"
            problem += f" and its card has {', '.join(names) or 'none'}"
            raise OptionInvalid("--profile-name", problem)

    def choose(
        self, calibrations: Sequence[LlrCalibration], one: Evaluated, over_telephone: str | None
    ) -> LlrCalibration | None:
        """Give the calibration of these scores, or None where there is none.

        That of the file or the name given, or else that of the bands that are simulated, or else
        the one for any.
        """
        if self.profile:
            return calibration_for(calibrations, one, calibrations[0].profile)
        if self.profile_name is not None:
            return calibration_for(calibrations, one, self.profile_name)
        meant = calibration_for(calibrations, one, BY_TELEPHONE[over_telephone])
        return meant or calibration_for(calibrations, one, DEFAULT_PROFILE)


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What came of it."""

    rows: tuple[Shown, ...]
    """Everything that was measured, with the threshold where one was wanted."""
    fitted: Fitted | None
    """The calibration."""
    written: tuple[Path, ...]
    """Files, in the order in which they were written."""


def check_own_card(model: str | None, instead: str) -> None:
    """Raise OptionInvalid where --into-card would write into the installed package."""
    if (model or "").partition("/")[0] in list_shipped():
        problem = (
            f"{model} belongs to the installed package; write a file of its own ({instead}),"
            " or give the bundle's folder as --model"
        )
        raise OptionInvalid("--into-card", problem)


def go_further(
    further: Further,
    wanted: Wanted,
    results: Sequence[tuple[Evaluated, Measured | None]],
    card: Card | None,
    learnt: Learnt | None = None,
    also_given: str = "",
) -> Found:
    """Fit, suggest and write what the options ask for.

    Args:
        further: The options of this module.
        wanted: The others.
        results: What was evaluated, with its numbers where there are any.
        card: Of the model; None where it is not known.
        learnt: Sequential boundaries, for the report.
        also_given: Options of theirs, as on the command line.

    Raises:
        TrialsUnusable: The scores cannot be calibrated.
        TooFewTrials: There are too few trials or speakers for what is wanted.
        OutputUnusable: A file cannot be written.
        ExtraMissing: scipy or matplotlib is not installed.
    """
    rows = tuple(
        _shown(further, wanted, one, measured) for one, measured in results if measured is not None
    )
    fitted = None
    if further.calibrate:
        fitted = _fitted(further, wanted, [one for one, _ in results])
    written = _save(further, wanted, card, fitted) if fitted and card else []
    if further.report is not None:
        facts = facts_of(further, wanted, card, also_given)
        both = [fitted] if fitted else []
        written += write_report(further.report, rows, facts, fitted=both, learnt=learnt)
    return Found(rows, fitted, tuple(written))


def _shown(further: Further, wanted: Wanted, one: Evaluated, measured: Measured) -> Shown:
    """Suggest a threshold where one is wanted; refused where cut speech leaves too few trials."""
    if further.target_far is None:
        return Shown(one, measured)
    try:
        suggestion = suggest(
            one.scores,
            one.trials.target,
            one.enroll_speaker,
            one.test_speaker,
            further.target_far,
            draws=wanted.bootstrap,
            seed=wanted.seed,
        )
    except TooFewTrials as error:
        if not one.left_out:
            raise
        return Shown(one, measured, refused=str(error))
    return Shown(one, measured, suggestion)


def _fitted(further: Further, wanted: Wanted, results: Sequence[Evaluated]) -> Fitted:
    """Fit the normalised scores where there is a cohort; whole speech, or all with durations."""
    scale = ScoreScale.COSINE if wanted.cohort_scp is None else ScoreScale.ASNORM
    these = [
        one
        for one in results
        if one.scale is scale and (further.with_durations or one.speech == WHOLE)
    ]
    lists = ", ".join(dict.fromkeys(labels([replace(one, speech="") for one in these])))
    speech = ", ".join(dict.fromkeys(one.speech for one in these))
    return fit(
        these,
        trials=further.fitted_on or f"{lists} ({speech})",
        profile=further.profile_name or BY_TELEPHONE[wanted.over_telephone],
        with_durations=further.with_durations,
        draws=wanted.bootstrap,
        seed=wanted.seed,
    )


def _save(further: Further, wanted: Wanted, card: Card | None, fitted: Fitted) -> list[Path]:
    """Write the calibration where it is wanted; give the files."""
    written = []
    if further.profile_output is not None and card is not None:
        write_profile(further.profile_output, card.identity, fitted.calibration)
        written.append(further.profile_output)
    if further.into_card and wanted.model is not None:
        folder = find_bundle(wanted.model)
        add_to_card(folder, fitted.calibration)
        written.append(folder / CARD_NAME)
    return written


def facts_of(
    further: Further, wanted: Wanted, card: Card | None, also_given: str = ""
) -> list[tuple[str, str]]:
    """Give what the numbers were made from, for the report: names of files, never their folders."""
    words = ["speakerd evaluate", *as_given(wanted), *as_given(further), also_given]
    facts = [("model", str(card.identity) if card else "not known")]
    if card is not None:
        facts.append(("SHA-256 of the model", card.sha256))
    facts += [
        ("trials", ", ".join(path.name for path in wanted.trials)),
        ("command", " ".join(filter(None, words))),
    ]
    return facts


def as_given(options: DataclassInstance) -> Iterator[str]:
    """Give the options that are not the default, as on the command line, without folders."""
    for one in fields(options):
        value = getattr(options, one.name)
        if value in (None, (), False) or value == one.default:
            continue
        flag = f"--{one.name.replace('_', '-')}"
        for each in value if isinstance(value, tuple) else (value,):
            path = one.name == "model" or isinstance(each, Path)
            yield flag if each is True else f"{flag} {Path(each).name if path else each}"
