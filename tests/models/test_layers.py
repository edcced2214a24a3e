from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from speakerd_server.models.layers import after_norm


@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 2), st.integers(0, 2**32 - 1))
def test_a_norm_folded_into_the_next_layer_gives_the_same(
    inputs: int, outputs: int, axes: int, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    weight = generator.standard_normal((outputs, inputs, *[1] * axes))
    bias, value = generator.standard_normal(outputs), generator.standard_normal(inputs)
    norm = generator.standard_normal(inputs), generator.standard_normal(inputs)
    wanted = weight.reshape(outputs, inputs) @ (value * norm[0] + norm[1]) + bias
    folded, shifted = after_norm(weight, bias, norm)
    assert folded.shape == weight.shape
    np.testing.assert_allclose(folded.reshape(outputs, inputs) @ value + shifted, wanted, atol=1e-9)
