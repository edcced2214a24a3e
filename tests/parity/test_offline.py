"""`speakerd extract` and `speakerd compare` beside WeSpeaker's C++ runtime, kaldiio, the daemon."""

from __future__ import annotations

import csv
import ctypes
import json
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from speakerd.v1 import audio_pb2
from speakerd.v1 import verification_pb2 as pb
from speakerd_server.models.bundle import shipped_bundle
from speakerd_server.models.other_front_end import with_front_end
from speakerd_server.offline.vectors import read_vectors, write_ark, write_text
from support import wire
from support.commands import speakerd
from support.daemon import Daemon
from support.shared import shared_path
from support.speech import eval_ids, eval_utterance, pcm16

pytestmark = pytest.mark.timeout(120)

IDS = ("ann-1", "bob", "王芳")
VALUES = np.random.default_rng(5).standard_normal((3, 192)).astype(np.float32)


@pytest.fixture(scope="module")
def wespeaker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped network behind WeSpeaker's front end."""
    return with_front_end(shipped_bundle(), "wespeaker", tmp_path_factory.mktemp("m") / "bundle")


def cosine(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    one, other = a.astype(np.float64), b.astype(np.float64)
    return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))


@pytest.mark.parametrize("suffix", [".txt", ".ark", ".npz"])
@pytest.mark.parametrize(
    ("name", "samples_per_chunk"), [("32000", 32000), ("48000", 48000), ("whole", -1)]
)
def test_every_vector_of_the_cpp_runtime_is_met(
    wespeaker: Path, tmp_path: Path, name: str, samples_per_chunk: int, suffix: str
) -> None:
    golden = np.load(shared_path(f"reference/wespeaker_runtime/embeddings_{name}.npz"))
    ids = golden["ids"].tolist()
    assert {"1688-142285-0005_first8000", "2414-128291-0005_first24000"} < set(ids)
    (tmp_path / "wav.scp").write_text("".join(f"{one} {one}.flac\n" for one in ids))
    done = speakerd(
        *("extract", "--wav-scp", tmp_path / "wav.scp", "--output", tmp_path / f"x{suffix}"),
        *("--wav-root", shared_path("reference/wespeaker_runtime/audio"), "--model", wespeaker),
        *("--samples-per-chunk", samples_per_chunk),
    )
    assert done.returncode == 0, done.stderr
    found = read_vectors(tmp_path / f"x{suffix}")
    assert list(found.ids) == ids
    for one, ours, theirs in zip(ids, found.values, golden["embeddings"], strict=True):
        assert cosine(ours, theirs) >= 0.99999, one


def test_every_similarity_of_asv_main_is_met(wespeaker: Path) -> None:
    with shared_path("reference/wespeaker_runtime/asv_scores.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == 20
    for row in rows:
        first, second = (
            shared_path(f"reference/wespeaker_runtime/audio/{row[side]}.flac")
            for side in ("enroll", "test")
        )
        options = ("--samples-per-chunk", row["samples_per_chunk"], "--model", wespeaker)
        done = speakerd("compare", first, second, "--json", *options)
        # The shipped weights are stored as float16; the runtime's were float32.
        expected = pytest.approx(float(row["similarity"]), abs=5e-4)
        assert json.loads(done.stdout)["similarity"] == expected


@pytest.mark.parametrize("rate_hz", [16000, 8000, 44100])
def test_a_file_has_the_daemons_embedding(daemon: Daemon, tmp_path: Path, rate_hz: int) -> None:
    speech = eval_utterance(eval_ids()[7])
    soundfile.write(tmp_path / "x.wav", speech, rate_hz, subtype="PCM_16")
    (tmp_path / "wav.scp").write_text("x x.wav\n")
    done = speakerd("extract", "--wav-scp", "wav.scp", "--output", "x.npz", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    audio_format = audio_pb2.AudioFormat(encoding=wire.PCM16.encoding, sample_rate_hz=rate_hz)
    request = pb.EmbedRequest(audio=pb.Audio(format=audio_format, content=pcm16(speech)))
    with wire.connected(daemon.address) as stubs:
        expected = stubs.verification.Embed(request, timeout=wire.DEADLINE_S).embedding
    found = read_vectors(tmp_path / "x.npz").values[0]
    assert cosine(found, np.array(expected)) >= 1 - 1e-6


def test_our_ark_and_scp_are_kaldiios_to_the_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = {}
    for name in ("ours", "theirs"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        if name == "ours":
            write_ark(Path("exp.ark"), Path("exp.scp"), zip(IDS, VALUES, strict=True))
        else:
            with kaldiio.WriteHelper("ark,scp:exp.ark,exp.scp") as writer:
                for one, row in zip(IDS, VALUES, strict=True):
                    writer(one, row)
        written[name] = Path("exp.ark").read_bytes(), Path("exp.scp").read_bytes()
    assert written["ours"] == written["theirs"]


def test_kaldiio_reads_our_ark(tmp_path: Path) -> None:
    write_ark(tmp_path / "x.ark", tmp_path / "x.scp", zip(IDS, VALUES, strict=True))
    for read in (
        dict(kaldiio.load_ark(str(tmp_path / "x.ark"))),
        dict(kaldiio.load_scp(str(tmp_path / "x.scp"))),
    ):
        assert tuple(read) == IDS
        np.testing.assert_array_equal(np.stack(list(read.values())), VALUES)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("text", [False, True])
def test_we_read_what_kaldiio_writes(tmp_path: Path, dtype: type[np.floating], text: bool) -> None:
    kind = "ark,t,scp" if text else "ark,scp"
    values = VALUES.astype(dtype)
    with kaldiio.WriteHelper(f"{kind}:{tmp_path}/x.ark,{tmp_path}/x.scp") as writer:
        for one, row in zip(IDS, values, strict=True):
            writer(one, row)
    for suffix in ("ark", "scp"):
        found = read_vectors(tmp_path / f"x.{suffix}")
        assert found.ids == IDS
        np.testing.assert_array_equal(found.values, VALUES)


def test_the_reference_arks_are_read_as_kaldiio_reads_them() -> None:
    for name in ("xvector", "cohort"):
        ark = shared_path(f"reference/wespeaker_scores/{name}.ark")
        expected = dict(kaldiio.load_ark(str(ark)))
        for path in (ark, ark.with_suffix(".scp")):
            found = read_vectors(path)
            assert found.ids == tuple(expected)
            np.testing.assert_array_equal(found.values, np.stack(list(expected.values())))


def printed(value: float) -> str:
    """Print as C's printf does with %g, which is how C++'s `<<` is specified for a float."""
    buffer = ctypes.create_string_buffer(64)
    ctypes.CDLL(None).snprintf(buffer, 64, b"%g", ctypes.c_double(value))
    return buffer.value.decode()


def test_our_text_has_the_digits_that_cpp_prints(tmp_path: Path) -> None:
    values = np.concatenate([VALUES, VALUES * 1e-6, VALUES * 1e6]).astype(np.float32)
    named = [(f"id{n}", row) for n, row in enumerate(values)]
    write_text(tmp_path / "x.txt", named)
    lines = (tmp_path / "x.txt").read_text(encoding="utf-8").splitlines()
    for (one, row), line in zip(named, lines, strict=True):
        assert line == " ".join([one, *(printed(value) for value in row.tolist())])
