from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from speakerd_server.engine.onnxruntime_cpu import OnnxRuntimeCpu
from speakerd_server.errors import CheckpointRefused, FrontEndDiffers, OptionInvalid
from speakerd_server.models.bundle import load_bundle
from speakerd_server.models.exporting import Exported, Wanted, export
from speakerd_server.models.front_end import FAMILIES, front_end
from speakerd_server.windows.slicer import Slicer
from support.shared import shared_path
from support.speech import eval_ids, eval_utterance
from support.torch_zip import torch_zip
from support.wespeaker import SMALL, random_arrays, session_of, small_shapes
from yaml import safe_dump

pytestmark = pytest.mark.timeout(60)

NAMES = {"resnet34": "resnet34", "ecapa512": "ecapa-tdnn-glob-c512"}
NEVER_ZERO = 1e-30

Array = NDArray[np.float32]


@pytest.fixture(scope="module", params=NAMES)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """One of the reference's experiments with its mean vector, as a bundle with features.onnx."""
    return export_reference(request.param, tmp_path_factory.mktemp("bundles"), mean=True)


def export_reference(name: str, output: Path, *, mean: bool, half: bool = False) -> Exported:
    folder = shared_path("reference/wespeaker_checkpoints") / name
    return export(
        Wanted(
            folder / "config.yaml",
            folder / "avg_model.pt",
            output,
            mean_vec=folder / "mean_vec.npy" if mean else None,
            half_weights=half,
            features=True,
        )
    )


def reference_of(exported: Exported) -> Path:
    (name,) = [key for key, value in NAMES.items() if value == exported.card.identity.name]
    return shared_path("reference/wespeaker_checkpoints") / name


def expected(exported: Exported) -> Iterator[tuple[Array, Array]]:
    """Give WeSpeaker's features [1, T, 80] and what its model makes of them."""
    features = np.load(shared_path("reference/fbank_wespeaker.npz"))
    for utterance, wanted in np.load(reference_of(exported) / "expected.npz").items():
        name, _, first = utterance.partition(".")
        feats = features[name][:198] if first else features[name]
        yield (feats - feats.mean(axis=0)).astype(np.float32)[None], wanted


def cosine(one: Array, other: Array) -> float:
    a, b = one.astype(np.float64), other.astype(np.float64)
    return float(a @ b) / max(float(np.linalg.norm(a) * np.linalg.norm(b)), NEVER_ZERO)


def difference(found: Array, wanted: Array) -> float:
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


def test_features_become_wespeaker_s_embeddings_less_the_mean(exported: Exported) -> None:
    assert exported.features is not None
    session = session_of(exported.features.read_bytes())
    mean = np.load(reference_of(exported) / "mean_vec.npy")
    count = 0
    for feats, wanted in expected(exported):
        found = session.run(["embs"], {"feats": feats})[0][0]
        assert cosine(found, wanted - mean) >= 0.999999
        assert difference(found, wanted - mean) <= 1e-4
        count += 1
    assert count == 6


def test_pcm_becomes_wespeaker_s_embeddings(tmp_path: Path) -> None:
    exported = export_reference("ecapa512", tmp_path, mean=False)
    backend = OnnxRuntimeCpu(load_bundle(exported.folder))
    for utterance, wanted in np.load(reference_of(exported) / "expected.npz").items():
        name, _, first = utterance.partition(".")
        pcm = eval_utterance(name)
        rows = np.arange(198 if first else 1 + (pcm.size - 400) // 160)
        found = backend.embed(pcm[None], rows[None])[0]
        assert cosine(found, wanted) >= 0.999999
        assert difference(found, wanted) <= 1e-4


def test_the_plain_file_is_what_wespeaker_s_tools_take(exported: Exported) -> None:
    assert exported.features is not None
    graph = onnx.load(exported.features).graph
    (given,), (made,) = graph.input, graph.output
    shapes = [
        [dim.dim_param or dim.dim_value for dim in port.type.tensor_type.shape.dim]
        for port in (given, made)
    ]
    assert (given.name, shapes[0]) == ("feats", ["B", "T", 80])
    assert (made.name, shapes[1]) == ("embs", ["B", exported.card.dim])
    assert not {node.op_type for node in graph.node} & {"Loop", "If", "Scan"}


def test_the_bundle_serves_real_speech_as_the_plain_file_does(exported: Exported) -> None:
    assert exported.features is not None
    bundle = load_bundle(exported.folder)
    backend, session = OnnxRuntimeCpu(bundle), session_of(exported.features.read_bytes())
    slicer = Slicer(bundle.card.samples_per_chunk, bundle.card.min_frames)
    windows = [*slicer.push(eval_utterance(eval_ids()[0])), *slicer.end()]
    assert len(windows) > 1
    table = front_end(FAMILIES["wespeaker"])
    for window in windows:
        found = backend.embed(window.pcm[None], window.rows[None])[0]
        log_mel = table.log_mel(window.pcm)[window.rows]
        feats = log_mel - log_mel.mean(axis=0, keepdims=True)
        wanted = session.run(["embs"], {"feats": feats[None]})[0][0]
        assert found.shape == (bundle.card.dim,)
        assert np.isfinite(found).all()
        assert cosine(found, wanted) >= 0.999999
        assert difference(found, wanted) <= 1e-4


def test_the_card_says_what_the_bundle_is(exported: Exported) -> None:
    card = load_bundle(exported.folder).card
    assert card == exported.card
    assert card.identity.front_end == "wespeaker-61c2ee95130b"
    assert card.front_end == FAMILIES["wespeaker"]
    assert (card.sample_rate_hz, card.samples_per_chunk) == (16000, 32000)
    assert card.min_frames == {"resnet34": 9}.get(card.identity.name, 2)
    assert card.accept_at is None
    assert "not calibrated" in card.calibration.trials
    for part in ("WeSpeaker", "avg_model.pt", "SHA-256", "mean_vec.npy subtracted"):
        assert part in card.origin


@pytest.mark.parametrize("name", NAMES)
def test_half_the_size_is_nearly_the_same_network(tmp_path: Path, name: str) -> None:
    exported = export_reference(name, tmp_path, mean=False, half=True)
    assert exported.card.precision == "float16"
    assert exported.features is not None
    full = (reference_of(exported) / "avg_model.pt").stat().st_size
    assert exported.features.stat().st_size < 0.55 * full
    session = session_of(exported.features.read_bytes())
    for feats, wanted in expected(exported):
        assert cosine(session.run(["embs"], {"feats": feats})[0][0], wanted) >= 0.99999


def small(folder: Path, scale: float = 1.0) -> Wanted:
    """Write the smallest experiment; `scale` is the size of its last weights."""
    arrays = random_arrays(small_shapes())
    arrays["seg_1.weight"] *= np.float32(scale)
    (folder / "config.yaml").write_text(safe_dump(SMALL))
    (folder / "avg_model.pt").write_bytes(torch_zip(arrays))
    return Wanted(folder / "config.yaml", folder / "avg_model.pt", folder / "out")


def test_the_same_experiment_gives_the_same_bytes(tmp_path: Path) -> None:
    digests = set()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        digests.add(export(small(tmp_path / name)).card.sha256)
    assert len(digests) == 1


def test_another_number_of_mel_bins_makes_a_front_end_of_its_own(tmp_path: Path) -> None:
    bundle = load_bundle(export(small(tmp_path)).folder)
    assert bundle.card.front_end.family == "described"
    assert bundle.card.front_end.mel_bins == 8
    pcm = eval_utterance(eval_ids()[0])[None, :32000]
    embedding = OnnxRuntimeCpu(bundle).embed(pcm, np.arange(198)[None])
    assert embedding.shape == (1, 16)
    assert np.isfinite(embedding).all()


def test_weights_too_large_for_float16_are_refused(tmp_path: Path) -> None:
    wanted = small(tmp_path, scale=1e7)
    options = {field: getattr(wanted, field) for field in ("config", "checkpoint", "output")}
    with pytest.raises(OptionInvalid, match="--float16: the embeddings' cosine"):
        export(Wanted(**options, half_weights=True))
    assert not wanted.output.exists()
    assert export(wanted).card.precision == "float32"


def test_weights_that_overflow_are_refused(tmp_path: Path) -> None:
    wanted = small(tmp_path, scale=3e38)
    with pytest.raises(CheckpointRefused, match="embeddings are not finite"):
        export(wanted)
    assert not wanted.output.exists()


@pytest.mark.export
@pytest.mark.timeout(120)
def test_a_front_end_that_is_not_torchaudio_s_writes_nothing(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "export" not in request.config.getoption("-m"):
        pytest.skip("needs the export extra; run `make test-export`")
    folder = shared_path("reference/wespeaker_checkpoints/ecapa512")
    wanted = Wanted(folder / "config.yaml", folder / "avg_model.pt", tmp_path / "out")
    monkeypatch.setitem(FAMILIES, "wespeaker", FAMILIES["3dspeaker"])
    with pytest.raises(FrontEndDiffers):
        export(wanted)
    assert not wanted.output.exists()
    monkeypatch.undo()
    difference = export(wanted).front_end_difference
    assert difference is not None
    assert difference < 1e-4
