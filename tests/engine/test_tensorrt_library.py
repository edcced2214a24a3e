from __future__ import annotations

import sys
import threading

import pytest
from speakerd_server.engine.devices import Gpu
from speakerd_server.engine.tensorrt_library import (
    FULL,
    LIBRARIES,
    RTX,
    Library,
    Said,
    collecting_logger,
    installed_libraries,
    target_of,
)


def rtx() -> Library:
    (library,) = installed_libraries([RTX])
    return library


def test_the_library_for_rtx_gpus_is_found_under_its_own_name_or_that_of_its_bindings() -> None:
    library = rtx()
    assert library.name == RTX
    assert library.version == library.module.__version__
    assert library.version[0].isdigit()


def test_it_has_targets_but_none_for_compute_capability_9_0() -> None:
    library = rtx()
    assert library.targets == ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")
    assert library.can_run_on("8.9")
    assert not library.can_run_on("9.0")


def test_its_engines_are_for_all_gpus_of_a_compute_capability() -> None:
    gpu = Gpu(0, "NVIDIA L4", "8.9", 2**34)
    assert rtx().target_of(gpu) == target_of("8.9") == "compute capability 8.9"


def test_engines_of_the_full_library_are_for_one_kind_of_gpu() -> None:
    library = Library(FULL, "10.0", None)
    gpu = Gpu(0, "NVIDIA H100", "9.0", 2**36)
    assert library.targets == ()
    assert library.can_run_on("9.0")
    assert library.target_of(gpu) == "NVIDIA H100 (compute capability 9.0)"


def test_errors_are_kept_apart_for_each_thread_and_no_more_than_20() -> None:
    module, said = rtx().module, Said()
    logger = collecting_logger(module, lambda: said.lines)
    other = threading.Thread(target=logger.log, args=(module.ILogger.ERROR, "out of memory"))
    other.start()
    other.join()
    assert said.lines == []
    logger.log(module.ILogger.WARNING, "unheard")
    for text in [f"error\n  {number}" for number in range(21)]:
        logger.log(module.ILogger.ERROR, text)
    assert said.lines == [f"error {number}" for number in range(1, 21)]


def test_what_is_not_installed_is_not_among_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings"):
        monkeypatch.setitem(sys.modules, name, None)
    assert installed_libraries() == ()
    assert LIBRARIES == (FULL, RTX)
