"""Which models answer inference requests, what they are, and their loading and unloading."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from speakerd_server import __version__
from speakerd_server.calls.administration import Administration, ModelState, ModelStatus
from speakerd_server.calls.inference_models import FEATURES, UTTERANCES, WINDOWS, Form
from speakerd_server.calls.inference_values import (
    ModelConfiguration,
    ModelDescription,
    ModelListing,
    ServerDescription,
)
from speakerd_server.calls.models import LoadedModel
from speakerd_server.calls.networks import missing_for_networks, network_reference, takes_features
from speakerd_server.calls.serving import Serving
from speakerd_server.errors import (
    FieldInvalid,
    InferenceUnsupported,
    ModelRefused,
    ModelUnknown,
    ModelUnusable,
)
from speakerd_server.models.choice import find_bundles, natural_order, shipped_bundles

EXTENSIONS = (
    "model_repository",
    "model_configuration",
    "binary_tensor_data",
    "parameters",
    "statistics",
)
FEATURES_MODEL = "speaker_model"
OVER_DEFAULT: Mapping[str, Form] = MappingProxyType(
    {"speaker": UTTERANCES, FEATURES_MODEL: FEATURES, "speaker_windows": WINDOWS}
)
"""Models over the bundle of calls that name none."""
THEIR_VERSION = "1"
MAXIMUM_NAME = 128


@dataclass(frozen=True, slots=True)
class KserveSettings:
    """How KServe's inference protocol is served."""

    maximum_batch: int = field(default=64, metadata={"minimum": 1, "maximum": 1024})
    """Most utterances of one inference request; more are refused with BATCH_SIZE_INVALID."""
    http_address: str = "127.0.0.1:8000"
    """Host and port of the protocol over HTTP; empty: over gRPC alone. There is no TLS yet."""
    http_connections: int = field(default=2048, metadata={"minimum": 1, "maximum": 100_000})
    """Most connections over HTTP of one process; one more is answered with 503 and closed."""
    http_body_mib: int = field(default=64, metadata={"minimum": 1, "maximum": 1024})
    """Largest body over HTTP, decompressed, in MiB; more is refused with BODY_TOO_LARGE."""
    http_body_timeout_s: float = field(default=30.0, metadata={"minimum": 0.1, "maximum": 3600.0})
    """A body over HTTP must come within so long; the request ends with BODY_TOO_SLOW otherwise."""


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """A model that a request can mean."""

    name: str
    """As asked."""
    version: str
    """As asked."""
    reference: str
    """Of its bundle; empty: the one of calls that name none."""

    def form(self, loaded: LoadedModel) -> Form:
        """Say what it takes and gives."""
        if not self.reference:
            return OVER_DEFAULT[self.name]
        return FEATURES if takes_features(loaded.card) else UTTERANCES

    def key(self, loaded: LoadedModel) -> tuple[str, str]:
        """Give name and version under which it is listed."""
        if not self.reference:
            return self.name, THEIR_VERSION
        return loaded.card.identity.name, loaded.card.identity.version


def served(name: str, version: str) -> Served:
    """Give the model of a name and version; its bundle may not be there.

    Raises ModelUnknown.
    """
    if name in OVER_DEFAULT:
        if version not in ("", THEIR_VERSION):
            raise ModelUnknown.for_inference(name, version)
        return Served(name, version, "")
    if not name:
        raise ModelUnknown.for_inference(name, version)
    return Served(name, version, f"{name}/{version}" if version else name)


class Catalog:
    """The models by name.

    Args:
        serving: What all calls share.
        administration: Of the whole daemon.
        settings: Limits.
        folder: Of models that can be loaded beside the shipped ones; empty: there is none.
    """

    def __init__(
        self,
        serving: Serving,
        administration: Administration,
        settings: KserveSettings,
        folder: str = "",
    ) -> None:
        self.serving, self._administration = serving, administration
        self.settings, self._folder = settings, folder
        self._refused: dict[str, str] = {}
        self.well = False
        """Whether calls are taken, as health says it."""

    def live(self) -> bool:
        """Tell that the process answers."""
        return True

    def ready(self) -> bool:
        """Tell whether calls are taken."""
        return self.well and not self.serving.places.draining

    def model_ready(self, name: str, version: str) -> bool:
        """Tell whether requests can mean a model."""
        if name == FEATURES_MODEL and self._why_no_features():
            return False
        try:
            with self.held(served(name, version)):
                return self.ready()
        except ModelUnknown:
            return False

    def server_metadata(self) -> ServerDescription:
        """Say what the server is."""
        return ServerDescription("speakerd", __version__, EXTENSIONS)

    def metadata(self, name: str, version: str) -> ModelDescription:
        """Say what a model takes and gives; raises ModelUnknown."""
        model = served(name, version)
        with self.held(model) as loaded:
            bare, form = model.key(loaded)[0], model.form(loaded)
            versions = [
                one.card.identity.version
                for one in self.serving.models
                if one.card.identity.name == bare
            ]
            return ModelDescription(
                name=name,
                versions=tuple(sorted(versions, key=natural_order))
                if model.reference
                else (THEIR_VERSION,),
                platform="speakerd",
                inputs=form.inputs(loaded.card),
                outputs=form.outputs(loaded.card.dim),
            )

    async def config(self, name: str, version: str) -> ModelConfiguration:
        """Say how a model is served; raises ModelUnknown."""
        description = self.metadata(name, version)
        with self.held(served(name, version)) as loaded:
            identity = loaded.card.identity
            states = await self._administration.models()
        devices = [
            device
            for state in states
            if state.card.identity == identity and state.status is ModelStatus.LOADED
            for device in state.devices
        ]
        return ModelConfiguration(
            description=description,
            maximum_batch=self.settings.maximum_batch,
            preferred_batches=tuple(
                sorted({one.cost.best_windows for one in devices if one.cost is not None})
            ),
            devices=tuple(one.device for one in devices),
        )

    async def index(self, *, ready: bool = False) -> list[ModelListing]:
        """List the models, or those that requests can mean; by name and version."""
        states = await self._administration.models()
        found = {(name, THEIR_VERSION): self._listing(name) for name in OVER_DEFAULT}
        for reference in await asyncio.to_thread(_bundles, self._folder):
            found[reference] = ModelListing(*reference, "UNAVAILABLE", "not loaded")
        found |= {(one.name, one.version): one for one in map(_listed, states)}
        every = sorted(found.values(), key=lambda one: (one.name, natural_order(one.version)))
        return [one for one in every if not ready or one.state == "READY"]

    async def load(self, name: str, *, with_parameters: bool = False) -> None:
        """Load a bundle by NAME or NAME/VERSION.

        Raises FieldInvalid, InferenceUnsupported for a configuration or files that were sent,
        ModelUnknown and ModelRefused.
        """
        _check_name(name)
        if with_parameters:
            raise InferenceUnsupported("parameters of a load: a bundle is configured by its card")
        if name == FEATURES_MODEL:
            self._refused.clear()
            await self.network(self.serving.models.default)
        elif name not in OVER_DEFAULT:
            await self._administration.load_model(name, "", make_default=False)

    async def unload(self, name: str) -> None:
        """Unload a bundle by NAME or NAME/VERSION.

        Raises FieldInvalid, InferenceUnsupported, ModelUnknown and ModelIsDefault.
        """
        _check_name(name)
        if name == FEATURES_MODEL:
            name = network_reference(self.serving.models.default.card.identity)
        if name in OVER_DEFAULT:
            raise InferenceUnsupported(f"unloading '{name}', which is the default model's")
        await self._administration.unload_model(name)

    @contextmanager
    def held(self, model: Served) -> Iterator[LoadedModel]:
        """Keep the bundle of a model until the body ends; raises ModelUnknown."""
        models = self.serving.models
        try:
            models.named(model.reference)
        except ModelUnknown:
            raise ModelUnknown.for_inference(model.name, model.version) from None
        with models.held(model.reference) as loaded:
            yield loaded

    async def network(self, loaded: LoadedModel) -> str:
        """Give the reference of a bundle's network, which is loaded the first time.

        Raises ModelRefused; again, without another try, until it is loaded by its name.
        """
        reference = network_reference(loaded.card.identity)
        if self.serving.models.find(reference) is None:
            if reference in self._refused:
                raise ModelRefused(reference, self._refused[reference])
            try:
                await self._administration.load_model(reference, "", make_default=False)
            except ModelRefused as error:
                self._refused[reference] = error.problem
                raise
        return reference

    def _why_no_features(self) -> str:
        """Say why nobody can have the network of the default bundle; empty: one can."""
        reference = network_reference(self.serving.models.default.card.identity)
        return self._refused.get(reference, "") or missing_for_networks()

    def _listing(self, name: str) -> ModelListing:
        reason = self._why_no_features() if name == FEATURES_MODEL else ""
        return ModelListing(name, THEIR_VERSION, "UNAVAILABLE" if reason else "READY", reason)


def _listed(state: ModelState) -> ModelListing:
    identity = state.card.identity
    if state.status is ModelStatus.LOADED:
        return ModelListing(identity.name, identity.version, "READY")
    if state.status is ModelStatus.UNLOADING:
        return ModelListing(identity.name, identity.version, "UNLOADING", "calls still hold it")
    return ModelListing(identity.name, identity.version, "UNAVAILABLE", "unloaded")


def _bundles(folder: str) -> list[tuple[str, str]]:
    """Name what could be loaded."""
    paths = list(shipped_bundles())
    with suppress(ModelUnusable):  # a load says what is wrong with the folder
        paths += find_bundles(Path(folder)) if folder else ()
    return [(path.parent.name, path.name) for path in paths]


def _check_name(name: str) -> None:
    if not name:
        raise FieldInvalid("model_name", "must be set: NAME or NAME/VERSION")
    if len(name) > MAXIMUM_NAME:
        raise FieldInvalid("model_name", f"has more than {MAXIMUM_NAME} characters")
