"""The models that calls can name, and who still uses each."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from speakerd_server.cards import Bundle, Card, Cohort
from speakerd_server.engine.engine import Engine
from speakerd_server.errors import ModelIsDefault, ModelUnknown
from speakerd_server.models.choice import natural_order
from speakerd_server.score.scales import Scorer


class VersionPolicy(enum.Enum):
    """Which version a name without one means, of those that are loaded."""

    FIRST = "first"
    """The one that was loaded first, until another is made the default: voiceprints belong to one
    version, and a new one does not find those of the old."""
    NEWEST = "newest"
    """The newest, in natural order of versions."""


@dataclass(slots=True, eq=False)
class LoadedModel:
    """A model that can embed."""

    card: Card
    """What it says of itself."""
    engine: Engine
    """Embeds its windows."""
    key: str
    """Its name in the engine: name, version, and which time it was loaded."""
    bundle: Bundle | None = None
    """What it was loaded from; None where that was another process."""
    users: int = 0
    """Open calls of this process that hold it."""
    leaving: bool = False
    """Unloaded: only the calls that hold it still see it."""
    unused: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once it is leaving and no call holds it."""
    cohort: Cohort | None = None
    """What card.cohort describes; a card that names one comes with it."""
    scorer: Scorer = field(init=False)
    """Scores its embeddings."""

    def __post_init__(self) -> None:
        """Make the scorer."""
        self.scorer = Scorer(self.card, self.cohort)

    @property
    def reference(self) -> str:
        """NAME/VERSION."""
        return f"{self.card.identity.name}/{self.card.identity.version}"


class Models:
    """The loaded models, by name.

    Args:
        policy: Which version a bare name means.
    """

    def __init__(self, policy: VersionPolicy = VersionPolicy.FIRST) -> None:
        self._policy = policy
        self._loaded: dict[str, LoadedModel] = {}
        self._preferred: dict[str, str] = {}
        self._default = ""
        self.leaving: list[LoadedModel] = []
        """Unloaded, but held by calls that go on."""

    @property
    def default(self) -> LoadedModel:
        """The model of calls that name none."""
        return self.named(self._default)

    def __iter__(self) -> Iterator[LoadedModel]:
        return iter(self._loaded.values())

    def find(self, reference: str) -> LoadedModel | None:
        """Give the model NAME/VERSION; None where it is not loaded."""
        return self._loaded.get(reference)

    def named(self, name: str) -> LoadedModel:
        """Find NAME or NAME/VERSION; "" is the default; raises ModelUnknown."""
        wanted = name or self._default
        found = self._loaded.get(self._preferred.get(wanted, wanted))
        if found is None:
            raise ModelUnknown(name, sorted(self._loaded))
        return found

    @contextmanager
    def held(self, name: str) -> Iterator[LoadedModel]:
        """Keep the model of a call until the body ends, though it be unloaded meanwhile.

        See `named`.
        """
        model = self.named(name)
        model.users += 1
        try:
            yield model
        finally:
            model.users -= 1
            if model.leaving and not model.users:
                model.unused.set()

    def answers_to_name(self, model: LoadedModel) -> bool:
        """Tell whether calls that give its name without a version mean this one."""
        return self._preferred.get(model.card.identity.name) == model.reference

    def add(self, model: LoadedModel, *, make_default: bool = False) -> None:
        """Let calls name a model; the first one is the default."""
        name = model.card.identity.name
        self._loaded[model.reference] = model
        if self._policy is VersionPolicy.NEWEST or name not in self._preferred:
            self._prefer_by_policy(name)
        if make_default or not self._default:
            self.make_default(model)

    def make_default(self, model: LoadedModel) -> None:
        """Let calls without a model, and those with its bare name, mean this one."""
        self._default = model.card.identity.name
        self._preferred[self._default] = model.reference

    def remove(self, name: str) -> LoadedModel:
        """Let no new call name a model; those that hold it go on.

        Raises ModelUnknown, and ModelIsDefault where calls that name none would have nothing.
        """
        model = self.named(name)
        bare = model.card.identity.name
        others = [one for one in self if one.card.identity.name == bare and one is not model]
        if bare == self._default and not others:
            raise ModelIsDefault(model.reference)
        answers = self.answers_to_name(model)
        self.let_go(model)
        if answers:
            del self._preferred[bare]
            if others:
                self._prefer_by_policy(bare)
        return model

    @property
    def preferences(self) -> tuple[str, dict[str, str]]:
        """Name of the default model, and which model each bare name means."""
        return self._default, dict(self._preferred)

    def prefer(self, default: str, preferred: Mapping[str, str]) -> None:
        """Take over the preferences of another process; all models they mean are loaded."""
        self._default, self._preferred = default, dict(preferred)

    def let_go(self, model: LoadedModel) -> None:
        """Let no new call name a model, whatever calls that name none mean then."""
        del self._loaded[model.reference]
        model.leaving = True
        self.leaving.append(model)
        if not model.users:
            model.unused.set()

    def _prefer_by_policy(self, name: str) -> None:
        versions = [one for one in self if one.card.identity.name == name]
        chosen = versions[0]
        if self._policy is VersionPolicy.NEWEST:
            chosen = max(versions, key=lambda one: natural_order(one.card.identity.version))
        self._preferred[name] = chosen.reference
