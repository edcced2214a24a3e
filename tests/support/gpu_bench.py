"""What the GPU bench measures with: lanes driven side by side, ceilings, and counted work."""

from __future__ import annotations

import importlib
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper
from speakerd_server.engine.backend import Backend
from speakerd_server.engine.cuda_place import CudaPlace
from speakerd_server.engine.devices import CPU_PROVIDER, CUDA_PROVIDER
from speakerd_server.engine.onnxruntime_cuda import load_cuda_libraries, open_session
from speakerd_server.values import Window
from support.shared import ROOT

COPIED_BYTES = 1 << 28
SIDE = 4096


def windows_per_s(
    lanes: Sequence[Backend], windows: Sequence[Window], batch: int, seconds: float
) -> float:
    """Drive every lane with batches of real windows for a while, each lane on a thread.

    Laying a batch out counts: the service does it too.

    Args:
        lanes: In flight at once.
        windows: All of one length.
        batch: Windows in each step.
        seconds: How long.
    """
    counts = [0] * len(lanes)
    failures: list[BaseException] = []
    begin_s = time.perf_counter()

    def work(number: int) -> None:
        chosen = [windows[(number + at) % len(windows)] for at in range(batch)]
        frames, samples = chosen[0].rows.size, max(one.pcm.size for one in chosen)
        try:
            while time.perf_counter() - begin_s < seconds:
                pcm, rows = lanes[number].buffers(batch, samples, frames)
                for own_pcm, own_rows, one in zip(pcm, rows, chosen, strict=True):
                    own_pcm[: one.pcm.size], own_pcm[one.pcm.size :] = one.pcm, 0.0
                    own_rows[:] = one.rows
                lanes[number].embed(pcm, rows)
                counts[number] += batch
        # A thread's edge: the failure is raised where the threads are joined.
        except Exception as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(lanes))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return sum(counts) / (time.perf_counter() - begin_s)


def median_of(measure: Callable[[], float], rounds: int) -> float:
    """Give the median of several measurements."""
    return statistics.median(measure() for _ in range(rounds))


def copy_gb_per_s(number: int, rounds: int = 10) -> float:
    """Give the rate of page-locked memory to the GPU, in 1e9 bytes/s."""
    place = CudaPlace(number)
    array = place.mirrored(COPIED_BYTES, np.uint8)

    def once() -> float:
        begin_s = time.perf_counter()
        array.up(COPIED_BYTES)
        place.wait()
        return COPIED_BYTES / (time.perf_counter() - begin_s) / 1e9

    once()
    rate = median_of(once, rounds)
    place.close()
    return rate


def matrix_tflop_per_s(number: int, precision: str, rounds: int = 10) -> tuple[float, str] | None:
    """Give the rate of a product of two square matrices, in 1e12 operations/s, and by what.

    PyTorch computes it where it has CUDA, else ONNX Runtime; None: neither can.
    """
    once = _torch_product(number, precision)
    name = "torch"
    if once is None:
        once, name = _onnxruntime_product(number, precision), "onnxruntime"
    if once is None:
        return None
    once()

    def rate() -> float:
        begin_s = time.perf_counter()
        once()
        return 2 * SIDE**3 / (time.perf_counter() - begin_s) / 1e12

    return median_of(rate, rounds), name


def operations(content: bytes) -> int:
    """Count the multiplications and additions of one window in a graph of fixed sizes.

    Convolutions and matrix products alone, two for each multiply-add; batch is taken as 1.
    """
    model = onnx.load_model_from_string(content)
    for port in model.graph.input:
        port.type.tensor_type.shape.dim[0].dim_value = 1
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    sizes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*inferred.value_info, *inferred.input, *inferred.output)
    }
    sizes |= {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    return sum(2 * _multiplications(node, sizes) for node in model.graph.node)


def _multiplications(node: onnx.NodeProto, sizes: dict[str, list[int]]) -> int:
    output = int(np.prod(sizes.get(node.output[0], [0])))
    if node.op_type == "Conv":
        return output * int(np.prod(sizes[node.input[1]][1:]))
    if node.op_type in ("MatMul", "Gemm"):
        return output * sizes[node.input[0]][-1]
    return 0


def product_graph(precision: str) -> bytes:
    """Make a graph of one product of two square matrices, summed up so that little comes back."""
    kind = TensorProto.FLOAT16 if precision == "float16" else TensorProto.FLOAT
    inputs = [helper.make_tensor_value_info(name, kind, [SIDE, SIDE]) for name in ("a", "b")]
    nodes = [
        helper.make_node("MatMul", ["a", "b"], ["product"]),
        helper.make_node("ReduceMax", ["product"], ["largest"], keepdims=0),
    ]
    output = helper.make_tensor_value_info("largest", kind, [])
    graph = helper.make_graph(nodes, "product", inputs, [output])
    model: ModelProto = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9
    )
    return model.SerializeToString()


def _torch_product(number: int, precision: str) -> Callable[[], None] | None:
    try:
        torch = importlib.import_module("torch")
    except (ImportError, OSError):
        return None
    if not torch.cuda.is_available():
        return None
    kind = torch.float16 if precision == "float16" else torch.float32
    one, other = (torch.rand(SIDE, SIDE, device=f"cuda:{number}", dtype=kind) for _ in range(2))

    def once() -> None:
        torch.matmul(one, other)
        torch.cuda.synchronize(number)

    return once


def _onnxruntime_product(number: int, precision: str) -> Callable[[], None] | None:
    import onnxruntime as ort

    # Nothing else has loaded cuBLAS yet where it came as a package of pip.
    load_cuda_libraries()
    options = {"device_id": str(number), "use_tf32": "0"}
    providers: list[Any] = [(CUDA_PROVIDER, options), CPU_PROVIDER]
    session = open_session(ROOT / "product.onnx", product_graph(precision), providers)
    if CUDA_PROVIDER not in session.get_providers():
        return None
    kind = np.float16 if precision == "float16" else np.float32
    matrix = np.random.default_rng(0).random((SIDE, SIDE)).astype(kind)
    binding = session.io_binding()
    for name in ("a", "b"):
        value = ort.OrtValue.ortvalue_from_numpy(matrix, "cuda", number)
        binding.bind_ortvalue_input(name, value)
    binding.bind_output("largest", "cuda", number)
    return lambda: session.run_with_iobinding(binding)
