"""The text of `config.pbtxt`, as Triton reads it, for the models of a bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Port:
    """An input or an output of a model."""

    name: str
    """In requests."""
    kind: str
    """FP32 or INT64."""
    size: int = -1
    """Of a window; -1: any."""
    example: tuple[int, str] = (0, "")
    """Of an input: the size of a window to warm up with, and the file that has it."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """One model of a repository."""

    name: str
    """Of the model and its folder."""
    runs: str
    """The lines that say what computes it, such as backend: "python"."""
    inputs: Sequence[Port]
    """In the order of requests."""
    output: Port
    """Of one embedding."""
    max_batch: int
    """Most windows at once."""
    instances: int
    """Batches at the same time."""
    on_gpu: bool
    """Whether instances are on GPUs, on each of them so many."""
    queue_delay_us: int = 1000
    """Longest wait for others to share a batch."""
    parameters: Mapping[str, int] = field(default_factory=dict)
    """Free words that the backend reads."""
    is_ragged: bool = False
    """Whether the backend takes requests of several lengths in one batch."""

    @property
    def text(self) -> str:
        """Give the whole file."""
        return "\n".join(
            (
                f'name: "{self.name}"',
                self.runs,
                f"max_batch_size: {self.max_batch}",
                f"input [\n{self._ports(self.inputs)}\n]",
                f"output [\n{self._ports([self.output])}\n]",
                f"instance_group [ {{ {self._group()} }} ]",
                self._batching(),
                *(
                    f'parameters {{ key: "{name}" value: {{ string_value: "{number}" }} }}'
                    for name, number in self.parameters.items()
                ),
                *(self._warm_up(windows) for windows in dict.fromkeys((1, self.max_batch))),
                "",
            )
        )

    def _ports(self, ports: Sequence[Port]) -> str:
        ragged = " allow_ragged_batch: true" if self.is_ragged and ports is self.inputs else ""
        return ",\n".join(
            f'  {{ name: "{port.name}" data_type: TYPE_{port.kind} dims: [ {port.size} ]{ragged} }}'
            for port in ports
        )

    def _group(self) -> str:
        kind = "KIND_GPU" if self.on_gpu else "KIND_CPU"
        return f"count: {self.instances} kind: {kind}"

    def _batching(self) -> str:
        return (
            f"dynamic_batching {{ preferred_batch_size: [ {self.max_batch} ]"
            f" max_queue_delay_microseconds: {self.queue_delay_us} }}"
        )

    def _warm_up(self, windows: int) -> str:
        inputs = "\n".join(
            f'  inputs {{ key: "{port.name}" value: {{ data_type: TYPE_{port.kind}'
            f' dims: [ {port.example[0]} ] input_data_file: "{port.example[1]}" }} }}'
            for port in self.inputs
        )
        return f'model_warmup {{\n  name: "{windows}" batch_size: {windows}\n{inputs}\n}}'
