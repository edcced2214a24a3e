"""From a model's name to an engine that embeds with it, and back to the memory it took."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from speakerd_server.calls.models import LoadedModel
from speakerd_server.calls.networks import SUFFIX, network_bundle, takes_features
from speakerd_server.cards import Bundle, Card
from speakerd_server.engine.batcher import Batcher
from speakerd_server.engine.engine import ModelEngine
from speakerd_server.engine.lanes import Lanes
from speakerd_server.errors import (
    Draining,
    EngineDead,
    ModelRefused,
    ModelUnusable,
    ProfileUnusable,
    SettingInvalid,
    SpeakerdError,
    StartFailed,
)
from speakerd_server.models.bundle import load_bundle
from speakerd_server.models.choice import ModelSettings, find_bundle, find_listed
from speakerd_server.models.profile import with_profiles


class ModelLoader(Protocol):
    """Brings models into the engine and takes them out."""

    async def load(self, bundle: Bundle, device: str) -> LoadedModel:
        """Load a bundle and warm it up.

        Args:
            bundle: Verified.
            device: Where it computes; empty: as the settings say.

        Raises:
            ModelRefused: It does not embed, or is not to be on this device.
            SpeakerdError: The device, or a library, is not there, or cannot run it.
        """

    async def unload(self, model: LoadedModel) -> None:
        """Give back what a model took; no call holds it any more."""


def found_for_loading(reference: str, folder: str, loaded: Iterable[Bundle] = ()) -> Bundle:
    """Find and verify a model that a client named.

    Args:
        reference: NAME or NAME/VERSION; nothing else is looked at. NAME.network is the network
            alone of the bundle NAME.
        folder: Of models; they come before shipped ones; empty: there is none.
        loaded: Bundles whose networks can be had wherever they lie.

    Raises:
        ModelUnknown: It is not there.
        ModelRefused: It is damaged, its card names another, or the folder cannot be read.
    """
    name, slash, version = reference.partition("/")
    if name.endswith(SUFFIX):
        whole = name.removesuffix(SUFFIX)
        for bundle in loaded:
            identity = bundle.card.identity
            if identity.name == whole and version in ("", identity.version):
                return network_bundle(bundle)
        return network_bundle(found_for_loading(whole + slash + version, folder))
    try:
        path = find_listed(reference, Path(folder) if folder else None)
        bundle = load_bundle(path)
    except StartFailed as error:
        raise ModelRefused(reference, str(error)) from error
    found = f"{path.parent.name}/{path.name}"
    stated = f"{bundle.card.identity.name}/{bundle.card.identity.version}"
    if stated != found:
        problem = f"its card says that it is {stated}; set name and version to those of its folder"
        raise ModelRefused(found, problem)
    return bundle


def check_default(bundle: Bundle, make_default: bool) -> None:
    """Refuse by ModelRefused to let calls that name no model mean one that takes no audio."""
    if make_default and takes_features(bundle.card):
        name = bundle.card.identity.name
        raise ModelRefused(name, "it takes features, so that it cannot be the default of calls")


@contextmanager
def refused_by_name(bundle: Bundle) -> Iterator[None]:
    """Tell a client by ModelRefused of what would keep a daemon from starting with the model."""
    try:
        yield
    except (ModelRefused, Draining, EngineDead):
        raise
    except SpeakerdError as error:
        identity = bundle.card.identity
        raise ModelRefused(f"{identity.name}/{identity.version}", str(error)) from error


def bundles_at_start(settings: ModelSettings) -> list[Bundle]:
    """Find and verify the models of the settings, each once, the default first.

    Raises ModelUnusable, also for two bundles of one name and version, ModelDamaged, and
    SettingInvalid for a profile that is damaged, or of a model that is not among them.
    """
    found: dict[tuple[str, str], Bundle] = {}
    for name in dict.fromkeys((settings.default, *settings.load)):
        bundle = load_bundle(find_bundle(name))
        identity = bundle.card.identity
        known = found.setdefault((identity.name, identity.version), bundle)
        if known.card.sha256 != bundle.card.sha256:
            problem = f"it is {identity.name}/{identity.version}, and so is another one to load"
            raise ModelUnusable(bundle.onnx_path.parent, problem)
    try:
        return with_profiles(list(found.values()), [Path(one) for one in settings.profiles])
    except ProfileUnusable as error:
        raise SettingInvalid("model.profiles", str(error.path), error.problem) from error


def placement_of(card: Card, settings: ModelSettings) -> str:
    """Give the device that the settings name for a model; empty: they name none."""
    identity = card.identity
    placed = dict(one.rsplit("=", 1) for one in settings.placement)
    exact = f"{identity.name}/{identity.version}"
    return placed.get(exact, placed.get(identity.name, ""))


class LocalLoader:
    """Loads models into a batcher of this process.

    Args:
        batcher: Of the one device.
        device: Its name.
        open_lanes: Opens a bundle on it; raises SpeakerdErrors.
        settings: What is placed where.
    """

    def __init__(
        self,
        batcher: Batcher,
        device: str,
        open_lanes: Callable[[Bundle], Lanes],
        settings: ModelSettings,
    ) -> None:
        self._batcher, self._device, self._open_lanes = batcher, device, open_lanes
        self._settings = settings
        self._numbers = itertools.count(1)

    async def load(self, bundle: Bundle, device: str) -> LoadedModel:
        """See ModelLoader."""
        try:
            return await self._load(bundle, device)
        finally:
            # Reading and trying it took as much again as the model itself takes.
            await asyncio.to_thread(give_memory_back)

    async def _load(self, bundle: Bundle, device: str) -> LoadedModel:
        identity = bundle.card.identity
        reference = f"{identity.name}/{identity.version}"
        device = device or placement_of(bundle.card, self._settings)
        if device not in ("", self._device):
            problem = f"there is no device {device}; the daemon has {self._device}"
            raise ModelRefused(reference, problem)
        lanes = await asyncio.to_thread(self._open_lanes, bundle)
        # A model that is loaded again is another one to the engine: the old may still be leaving.
        number = next(self._numbers)
        key = reference if number == 1 else f"{reference} #{number}"
        await self._batcher.add(key, lanes, bundle.card.samples_per_chunk, name=reference)
        engine = ModelEngine(self._batcher, key)
        return LoadedModel(bundle.card, engine, key, bundle, cohort=bundle.cohort)

    async def unload(self, model: LoadedModel) -> None:
        """See ModelLoader."""
        await self._batcher.remove(model.key)
        await asyncio.to_thread(give_memory_back)


def give_memory_back() -> None:
    """Hand freed memory to the system, which the C library keeps for later otherwise."""
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's alone
        if trim is not None:
            trim(0)
