"""A note in Markdown of what the GPU bench measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def note(result: Mapping[str, Any]) -> str:
    """Write the result of `tests/bench/gpu.py` as a page of tables."""
    parts = [f"# {result['gpu']}", "", _about(result), "", *_bare(result["bare"])]
    parts += ["", *_service(result["service"]), ""]
    return "\n".join(parts)


def _about(result: Mapping[str, Any]) -> str:
    libraries = [f"{name} {version}" for name, version in result["tensorrt"].items()]
    libraries.append(f"ONNX Runtime {result['onnxruntime']}")
    rates = [
        f"{precision} {value[0]:.1f} TFLOP/s by {value[1]}"
        for precision, value in result["matrix_tflop_per_s"].items()
        if value is not None
    ]
    lines = [
        f"Measured on {result['date']} by `python tests/bench/gpu.py`, driver for CUDA"
        f" {result['driver_cuda']}, {', '.join(libraries)}.",
        f"Ceilings of the same run: copies to the GPU {result['copy_gb_per_s']} GB/s;"
        f" matrix products {', '.join(rates) or 'not measured'}.",
    ]
    if result["not_run"]:
        lines.append(f"Not run, for want of a target for this GPU: {', '.join(result['not_run'])}.")
    return "\n".join(lines)


def _bare(rows: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    batches = next((list(row["windows_per_s"]) for row in rows if "windows_per_s" in row), [])
    heads = ["model", "library", "precision", *batches, "of matrix rate", "of copy rate"]
    yield "Windows of 198 frames per second by batch, two lanes:"
    yield ""
    yield from _table_head([*heads, "lowest cosine"])
    for row in rows:
        names = [row["model"], row["library"], row["precision"]]
        if "failed" in row:
            yield _line([*names, f"not measured: {row['failed']}"])
            continue
        shares = [row["share_of_matrix_rate"], row["share_of_copy_rate"]]
        yield _line([*names, *row["windows_per_s"].values(), *shares, row["lowest_cosine"]])


def _service(rows: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    yield "The whole service, one window to a call, against the bare engine:"
    yield ""
    yield from _table_head(["library", "precision", "concurrency", "calls/s", "bare", "ratio"])
    for row in rows:
        names = [row["library"], row["precision"]]
        if "failed" in row:
            yield _line([*names, f"not measured: {row['failed']}"])
        for one in row.get("rows", ()):
            values = [one[key] for key in ("concurrency", "service_per_s", "bare_per_s", "ratio")]
            yield _line([*names, *values])


def _table_head(heads: Sequence[str]) -> Iterable[str]:
    yield _line(heads)
    yield _line(["---"] * len(heads))


def _line(cells: Sequence[object]) -> str:
    return f"| {' | '.join(str(cell).replace('|', '/') for cell in cells)} |"
