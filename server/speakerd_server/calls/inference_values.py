"""What passes between inference and the doors that translate for it: tensors and descriptions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

Parameters = Mapping[str, bool | int | float | str]
NO_PARAMETERS: Parameters = MappingProxyType({})


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """A tensor that is given."""

    name: str
    """Of an input or output of the model."""
    datatype: str
    """As the protocol writes it: FP32, INT64."""
    shape: tuple[int, ...]
    """The batch first."""
    data: bytes | memoryview
    """Its values, little-endian, row by row."""
    parameters: Parameters = field(default_factory=dict)
    """Shared memory is refused, the rest is ignored."""


@dataclass(frozen=True, slots=True)
class WantedOutput:
    """A tensor that is asked for."""

    name: str
    """Of an output of the model."""
    parameters: Parameters = field(default_factory=dict)
    """Shared memory and classification are refused, the rest is ignored."""


@dataclass(frozen=True, slots=True, eq=False)
class InferenceRequest:
    """What is to be inferred."""

    model: str
    """Name of the model."""
    version: str
    """Of the model; empty: the one that is served."""
    inputs: tuple[Tensor, ...]
    """What is given."""
    outputs: tuple[WantedOutput, ...] = ()
    """What is wanted; empty: everything."""
    id: str = ""
    """Echoed."""
    parameters: Parameters = field(default_factory=dict)
    """Sequences are refused, the rest is ignored."""


@dataclass(frozen=True, slots=True, eq=False)
class InferenceReply:
    """What was inferred."""

    model: str
    """As asked."""
    version: str
    """That inferred."""
    id: str
    """The request's."""
    outputs: tuple[Tensor, ...]
    """All that the model gives."""


@dataclass(frozen=True, slots=True)
class TensorDescription:
    """A tensor that a model takes or gives."""

    name: str
    """Its name."""
    datatype: str
    """FP32 or INT64."""
    shape: tuple[int, ...]
    """The batch first; -1: any length."""


@dataclass(frozen=True, slots=True)
class ServerDescription:
    """What the server is."""

    name: str
    """Always speakerd."""
    version: str
    """Of the package."""
    extensions: tuple[str, ...]
    """Of the protocol, those that are there."""


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """What a model is, takes and gives."""

    name: str
    """Its name."""
    versions: tuple[str, ...]
    """Those that can be named."""
    platform: str
    """What computes."""
    inputs: tuple[TensorDescription, ...]
    """What it takes."""
    outputs: tuple[TensorDescription, ...]
    """What it gives."""

    @property
    def version_numbers(self) -> list[int]:
        """Those versions that are numbers of 64 bits, which is all that a configuration takes."""
        return [int(one) for one in self.versions if one.isdecimal() and len(one) <= 18]


@dataclass(frozen=True, slots=True)
class ModelConfiguration:
    """How a model is served."""

    description: ModelDescription
    """What it takes and gives."""
    maximum_batch: int
    """Most utterances of one request."""
    preferred_batches: tuple[int, ...]
    """Windows of a batch of the engine, as measured."""
    devices: tuple[str, ...]
    """Where it computes: cpu, gpu:N."""


@dataclass(frozen=True, slots=True)
class ModelListing:
    """One line of the list of models."""

    name: str
    """Its name."""
    version: str
    """Its version."""
    state: str
    """READY, UNAVAILABLE or UNLOADING."""
    reason: str = ""
    """Why it is not ready."""


@dataclass(frozen=True, slots=True)
class Spent:
    """How often something was done, and how long it took in all."""

    count: int = 0
    """How often."""
    ns: int = 0
    """How long in all, in nanoseconds."""


@dataclass(frozen=True, slots=True)
class ModelStatistics:
    """What was inferred by one model since the process began; every number only grows."""

    name: str
    """Of the model."""
    version: str
    """Its version."""
    last_inference_ms: int
    """When a request last came, in milliseconds since 1970 UTC; 0: never."""
    inference_count: int
    """Utterances inferred."""
    execution_count: int
    """Batches; one that was shared with other calls counts by its share."""
    success: Spent
    """Requests that were answered; the time is that of the four parts below."""
    fail: Spent
    """Requests that failed or were cancelled."""
    queue: Spent
    """Waiting for the engine."""
    compute_input: Spent
    """Checking and preparing."""
    compute_infer: Spent
    """Computing."""
    compute_output: Spent
    """Making the answer."""
    batches: Mapping[int, Spent] = field(default_factory=dict)
    """Batches and their computing time, by their windows, counted as execution_count is."""
