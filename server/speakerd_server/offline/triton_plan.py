"""The TensorRT plan of a bundle for Triton's TensorRT backend."""

from __future__ import annotations

from dataclasses import dataclass, replace

from speakerd_server.cards import Bundle
from speakerd_server.engine.devices import find_gpu, parse_device
from speakerd_server.engine.engine_key import EngineKey, Profile, model_of
from speakerd_server.engine.opening import lane_sizes
from speakerd_server.engine.tensorrt_build import build_plan
from speakerd_server.engine.tensorrt_cache import EngineRequest
from speakerd_server.engine.tensorrt_library import FULL, Library, installed_libraries
from speakerd_server.errors import EngineBuildFailed
from speakerd_server.offline.gpu_networks import networks_of


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """A plan that is wanted."""

    bundle: Bundle
    """The model."""
    library: Library
    """That builds it."""
    target: str
    """See `EngineKey.target`."""
    precision: str
    """float32 or float16, of the network."""
    max_batch: int
    """Most windows at once."""
    longest_s: float
    """Longest window, in seconds; others are refused by Triton."""

    @property
    def key(self) -> EngineKey:
        """Give what the plan is of and for: one profile, since Triton's batches are of any."""
        bundle = self.bundle
        samples = bundle.card.samples_per_chunk
        sizes = lane_sizes(bundle, samples, self.max_batch, self.longest_s)
        request = EngineRequest(
            bundle, sizes, samples, self.precision, self.library, self.target, ""
        )
        frames = bundle.card.min_frames, sizes.window_frames, sizes.longest_frames
        most = self.max_batch
        profile = Profile((1, max(1, most // 2), most), frames)
        return replace(request.key(networks_of(bundle)), profiles=(profile,))


def triton_library(bundle: Bundle, device: str) -> tuple[Library, str]:
    """Give the library whose plans Triton loads, and what a plan for a GPU here runs on.

    Args:
        bundle: Whose plan it is, for errors.
        device: gpu:N.

    Raises:
        EngineBuildFailed: It is not installed.
        DeviceUnavailable: There is no such GPU.
    """
    libraries = installed_libraries([FULL])
    if not libraries:
        raise EngineBuildFailed(
            model_of(bundle.card),
            f"Triton loads plans of the full {FULL} alone, in the very version of its container,"
            " and that Python package is not installed; NVIDIA's own index has it. Without it,"
            " --form onnx computes on GPUs too",
        )
    return libraries[0], libraries[0].target_of(find_gpu(parse_device(device)))


def build(request: PlanRequest) -> bytes:
    """Build the plan.

    Raises:
        EngineBuildFailed: The library cannot.
        ModelUnusable: The model has no graph for a GPU.
        ExtraMissing: What makes the graph is not installed.
    """
    network = networks_of(request.bundle).make(request.precision, None)
    return build_plan(request.library, network, request.key)
