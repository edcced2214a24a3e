"""Triton's Python backend for a bundle: copied as `model.py` into a repository of Triton's.

It runs in Triton's own Python, which needs numpy and ONNX Runtime and nothing of speakerd. One file
serves both models: `speaker_windows` is asked with `rows`, and `speaker` makes them itself.
"""

from __future__ import annotations

import ctypes
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import triton_python_backend_utils as pb_utils
from numpy.typing import NDArray

FRAME_SAMPLES = 400
SHIFT_SAMPLES = 160

_USED = ctypes.c_char_p(b"used_dltensor")
_set_name = ctypes.pythonapi.PyCapsule_SetName
_set_name.argtypes = [ctypes.py_object, ctypes.c_char_p]


class TritonPythonModel:
    """One instance of a model."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the network of the version."""
        config = json.loads(args["model_config"])
        inputs = [one["name"] for one in config["input"]]
        self._takes_rows = "rows" in inputs
        self._audio, self._output = inputs[0], config["output"][0]["name"]
        stated = {key: int(one["string_value"]) for key, one in config["parameters"].items()}
        self._min_frames = stated["min_frames"]
        options = ort.SessionOptions()
        options.intra_op_num_threads = stated["intra_op_thread_count"]
        options.inter_op_num_threads = 1
        options.enable_mem_pattern = False
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        path = Path(args["model_repository"]) / args["model_version"] / "model.onnx"
        self._session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer what Triton's batcher gave together: windows of one length are embedded at once.

        A request that is wrong, or on which the network fails, gets its own error.
        """
        answers: list[Any] = [None] * len(requests)
        groups: dict[int, list[int]] = defaultdict(list)
        tensors = []
        for number, request in enumerate(requests):
            pcm, rows, problem = self._read(request)
            tensors.append((pcm, rows))
            if problem:
                answers[number] = _refusal(problem, pb_utils.TritonError.INVALID_ARG)
            else:
                groups[rows.shape[1]].append(number)
        for numbers in groups.values():
            self._answer(numbers, tensors, answers)
        return answers

    def _read(self, request: Any) -> tuple[NDArray[np.float32], NDArray[np.int64], str]:
        pcm = _read_tensor(request, self._audio)
        frames = max(0, 1 + (pcm.shape[1] - FRAME_SAMPLES) // SHIFT_SAMPLES)
        rows = np.tile(np.arange(frames), (len(pcm), 1))
        if self._takes_rows:
            rows = _read_tensor(request, "rows")
        if rows.shape[1] < self._min_frames:
            needed = f"at least {self._min_frames} are needed"
            return pcm, rows, f"{rows.shape[1]} frames of {FRAME_SAMPLES} samples, {needed}"
        if rows.min() < 0 or rows.max() >= frames:
            return pcm, rows, f"rows must be numbers of the {frames} frames of {self._audio}"
        return pcm, rows, ""

    def _answer(self, numbers: list[int], tensors: list[Any], answers: list[Any]) -> None:
        try:
            embeddings = self._embed([tensors[number] for number in numbers])
        # ONNX Runtime's exceptions share no base class but Exception.
        except Exception as error:  # noqa: BLE001
            if len(numbers) > 1:
                for number in numbers:
                    self._answer([number], tensors, answers)
            else:
                answers[numbers[0]] = _refusal(str(error), pb_utils.TritonError.INTERNAL)
            return
        at = 0
        for number in numbers:
            count = len(tensors[number][0])
            tensor = _tensor(self._output, embeddings[at : at + count])
            answers[number] = pb_utils.InferenceResponse([tensor])
            at += count

    def _embed(self, tensors: list[Any]) -> NDArray[np.float32]:
        longest = max(pcm.shape[1] for pcm, _ in tensors)
        padded = [np.pad(pcm, ((0, 0), (0, longest - pcm.shape[1]))) for pcm, _ in tensors]
        inputs = {"pcm": np.concatenate(padded), "rows": np.concatenate([r for _, r in tensors])}
        return np.asarray(self._session.run(["embeddings"], inputs)[0], np.float32)


def _read_tensor(request: Any, name: str) -> NDArray[Any]:
    """Read an input by DLPack: Triton 24.10's own conversion takes arrays of numpy 1 alone."""
    return np.from_dlpack(pb_utils.get_input_tensor_by_name(request, name))


def _tensor(name: str, array: NDArray[np.float32]) -> Any:
    """Make an output by DLPack too.

    Triton marks what it has taken by a name of its own, and numpy would complain for each.
    """
    capsule = array.__dlpack__()
    tensor = pb_utils.Tensor.from_dlpack(name, capsule)
    _set_name(capsule, _USED)
    return tensor


def _refusal(problem: str, code: int) -> Any:
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(problem, code))
