"""What an engine file is of and for: all that must be the same where it is used."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

from speakerd_server.cards import Card
from speakerd_server.engine.lane import LaneSizes

SUFFIX = ".engine"


@dataclass(frozen=True, slots=True)
class Profile:
    """The sizes that one part of an engine takes: least, most usual, most."""

    windows: tuple[int, int, int]
    """Of a batch."""
    frames: tuple[int, int, int]
    """T; the samples follow from it."""


@dataclass(frozen=True, slots=True)
class EngineKey:
    """Everything that an engine's numbers, and where it runs, depend on."""

    model: str
    """NAME/VERSION."""
    model_sha256: str
    """Of the bundle's ONNX file."""
    front_end: str
    """The front end's fingerprint."""
    precision: str
    """float32 or float16, of the network."""
    recipe: int
    """Of the graph that was made of the bundle; see models.gpu_graph."""
    library: str
    """tensorrt or tensorrt_rtx."""
    library_version: str
    """In full: an engine is of one version."""
    target: str
    """The GPUs that it runs on: a compute capability, or a GPU's name with it."""
    profiles: tuple[Profile, ...]
    """For the usual windows, then for windows of any length."""

    @property
    def file_name(self) -> str:
        """Give the name of the file in a cache folder, another one for every other key."""
        digest = hashlib.sha256(_text(asdict(self)).encode()).hexdigest()[:16]
        return f"{self.beginning}{digest}{SUFFIX}"

    @property
    def beginning(self) -> str:
        """Give how the names of all engine files of this model begin."""
        return f"{self.model.replace('/', '-')}."

    def differences(self, other: EngineKey) -> str:
        """Say in what another key differs: "precision float32, float16 is wanted; ..."."""
        found = [
            f"{name.replace('_', ' ')} {_shown(theirs)}, {_shown(ours)} is wanted"
            for name, ours, theirs in (
                (one.name, getattr(self, one.name), getattr(other, one.name))
                for one in fields(self)
            )
            if ours != theirs
        ]
        return "; ".join(found)

    def to_fields(self) -> dict[str, Any]:
        """Give it as what JSON can hold."""
        fields_of: dict[str, Any] = json.loads(_text(asdict(self)))
        return fields_of

    @classmethod
    def from_fields(cls, given: Mapping[str, Any]) -> Self:
        """Read what `to_fields` gave. Raises KeyError, TypeError or ValueError otherwise."""
        values = {one.name: given[one.name] for one in fields(cls)}
        values["profiles"] = tuple(
            Profile(_three(one["windows"]), _three(one["frames"])) for one in values["profiles"]
        )
        if not isinstance(values["recipe"], int):
            raise TypeError("recipe is no number")
        texts = [one.name for one in fields(cls) if one.name not in ("recipe", "profiles")]
        if not all(isinstance(values[name], str) for name in texts):
            raise TypeError("a text is none")
        return cls(**values)


def profiles_of(sizes: LaneSizes, min_frames: int) -> tuple[Profile, Profile]:
    """Give the profiles of an engine: one for full windows, one for windows of any length.

    The second takes from the model's fewest frames to the longest of one step, as many windows of
    those as the memory of a full batch of usual windows holds; longer windows come in runs.

    Args:
        sizes: Of the lanes that will use it.
        min_frames: The card's.
    """
    most, usual = sizes.batch_windows, sizes.window_frames
    longest, least = sizes.longest_frames, min(min_frames, sizes.longest_frames)
    typical = min(max(2 * usual, least), longest)
    return (
        Profile((1, max(1, most // 2), most), (usual, usual, usual)),
        Profile((1, 1, sizes.other_windows), (least, typical, longest)),
    )


def build_command(
    model: Path, key: EngineKey, device: str, samples_per_chunk: int, folder: Path
) -> str:
    """Give the command that builds an engine, to be run in the daemon's environment."""
    windows, any_length = key.profiles
    words = [
        *("speakerd", "model", "build-engine", str(model), "--device", device),
        *("--precision", key.precision, "--library", key.library),
        *("--samples-per-chunk", str(samples_per_chunk)),
        *("--max-batch", str(windows.windows[2])),
        *("--longest-s", f"{any_length.frames[2] / 100:g}"),
        *("--cache-folder", str(folder)),
    ]
    return shlex.join(words)


def model_of(card: Card) -> str:
    """Give NAME/VERSION of a card."""
    return f"{card.identity.name}/{card.identity.version}"


def _three(given: Any) -> tuple[int, int, int]:
    least, usual, most = map(int, given)
    return least, usual, most


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return " and ".join(
            f"{_range(one.windows)} windows of {_range(one.frames)} frames" for one in value
        )
    return str(value)


def _range(sizes: tuple[int, int, int]) -> str:
    return str(sizes[0]) if sizes[0] == sizes[2] else f"{sizes[0]} to {sizes[2]} ({sizes[1]})"
