from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from speakerd_server.calls.hearing import window_length
from speakerd_server.calls.loading import found_for_loading
from speakerd_server.calls.networks import (
    missing_for_networks,
    network_bundle,
    network_reference,
    takes_features,
)
from speakerd_server.errors import FieldInvalid, ModelRefused, ModelUnknown
from speakerd_server.models.bundle import load_bundle
from speakerd_server.models.front_end import front_end
from speakerd_server.values import Window
from support.administered import administered
from support.bundles import small_bundle
from support.signals import noise

pytestmark = pytest.mark.timeout(60)


def test_a_network_is_a_bundle_that_says_what_it_is_of(tmp_path: Path) -> None:
    whole = load_bundle(small_bundle(tmp_path, "small", "7"))
    bundle = network_bundle(whole)
    assert network_reference(whole.card.identity) == "small.network/7"
    assert (bundle.card.identity.name, bundle.card.identity.version) == ("small.network", "7")
    assert takes_features(bundle.card)
    assert not takes_features(whole.card)
    assert bundle.card.sha256 != whole.card.sha256
    assert (bundle.card.dim, bundle.card.min_frames) == (whole.card.dim, whole.card.min_frames)
    assert network_bundle(whole) is bundle
    assert missing_for_networks() == ""


def test_a_network_is_found_by_its_name_wherever_its_bundle_lies(tmp_path: Path) -> None:
    small_bundle(tmp_path / "listed", "small", "1")
    listed = found_for_loading("small.network", str(tmp_path / "listed"))
    assert listed.card.identity.name == "small.network"
    elsewhere = load_bundle(small_bundle(tmp_path / "other", "other", "3"))
    for reference in ("other.network", "other.network/3"):
        found = found_for_loading(reference, str(tmp_path / "listed"), [elsewhere])
        assert found is network_bundle(elsewhere)
    for reference in ("other.network/4", "none.network", ".network", "small.network.network"):
        with pytest.raises((ModelUnknown, ModelRefused)):
            found_for_loading(reference, str(tmp_path / "listed"), [elsewhere])


async def test_a_network_embeds_features_and_is_no_model_for_audio(tmp_path: Path) -> None:
    async with administered(tmp_path) as one:
        whole = one.serving.models.default
        await one.administration.load_model("small.network", "", make_default=False)
        with pytest.raises(ModelRefused, match="cannot be the default"):
            await one.administration.load_model("small.network", "", make_default=True)
        network = one.serving.models.named("small.network")
        assert one.serving.models.default is whole
        with pytest.raises(FieldInvalid, match="takes features"):
            window_length(network, None)
        pcm = noise(32_240)
        rows = np.arange(200)
        expected = await whole.engine.submit(Window(0, pcm, rows, 0))
        features = front_end(whole.card.front_end).log_mel(pcm)
        features -= features.mean(0)
        found = await network.engine.submit(Window(0, features.reshape(-1), rows, 0))
        cosine = found @ expected / np.linalg.norm(found) / np.linalg.norm(expected)
        assert cosine >= 1 - 1e-5
        await one.administration.unload_model("small.network")
        with pytest.raises(ModelUnknown):
            one.serving.models.named("small.network")
