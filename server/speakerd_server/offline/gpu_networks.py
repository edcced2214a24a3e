"""A bundle's graphs for a GPU, handed to the engine as files in memory."""

from __future__ import annotations

from speakerd_server.cards import Bundle
from speakerd_server.engine.tensorrt_cache import Networks
from speakerd_server.errors import ExtraMissing, GraphRefused, ModelUnusable


def networks_of(bundle: Bundle) -> Networks:
    """Give what makes a model's graphs.

    Raises:
        ExtraMissing: `onnx` is not installed.
    """
    try:
        from speakerd_server.models.gpu_graph import RECIPE, gpu_graph
    except ModuleNotFoundError as error:
        raise ExtraMissing("gpu", error.name or "onnx") from error

    def make(precision: str, sizes: tuple[int, int] | None) -> bytes:
        try:
            return gpu_graph(bundle, precision, sizes)
        except GraphRefused as error:
            raise ModelUnusable(bundle.onnx_path.parent, error.problem) from error

    return Networks(make, RECIPE)
