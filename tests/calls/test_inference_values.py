from __future__ import annotations

from speakerd_server.calls.inference_values import ModelConfiguration, ModelDescription
from speakerd_server.wire import kserve_convert, kserve_http_convert

DESCRIBED = ModelDescription("m", ("1", "v2", "9" * 18, "9" * 19, "9" * 6000), "onnx", (), ())


def test_only_versions_that_are_numbers_of_64_bits_are_told_as_numbers() -> None:
    assert DESCRIBED.version_numbers == [1, int("9" * 18)]


def test_both_doors_configure_a_model_whose_version_is_a_number_too_large() -> None:
    value = ModelConfiguration(DESCRIBED, 8, (), ())
    over_grpc = kserve_convert.config(value).config.version_policy.specific.versions
    over_http = kserve_http_convert.config(value)["version_policy"]
    assert list(over_grpc) == DESCRIBED.version_numbers
    assert over_http == {"specific": {"versions": DESCRIBED.version_numbers}}
