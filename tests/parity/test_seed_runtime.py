"""The embeddings of WeSpeaker's C++ runtime and of 3D-Speaker's code, through a real daemon."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from speakerd.v1 import verification_pb2 as pb
from speakerd_server.models.bundle import shipped_bundle
from speakerd_server.models.other_front_end import with_front_end
from support import wire
from support.daemon import Daemon
from support.shared import shared_path
from support.speech import eval_ids, eval_utterance, pcm16, read

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def wespeaker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[wire.Stubs]:
    """A daemon with the shipped network behind WeSpeaker's front end."""
    folder = tmp_path_factory.mktemp("wespeaker")
    bundle = with_front_end(shipped_bundle(), "wespeaker", folder / "bundle")
    with (
        Daemon(folder, f"--model-default={bundle}") as running,
        wire.connected(running.address) as stubs,
    ):
        yield stubs


def embed(
    stubs: wire.Stubs, samples: npt.NDArray[np.float32], samples_per_chunk: int
) -> npt.NDArray[np.float64]:
    audio = pb.Audio(format=wire.PCM16, content=pcm16(samples))
    request = pb.EmbedRequest(audio=audio, samples_per_chunk=samples_per_chunk)
    response = stubs.verification.Embed(request, timeout=wire.DEADLINE_S)
    return np.array(response.embedding)


def cosine(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


@pytest.mark.parametrize(
    ("name", "samples_per_chunk"), [("32000", 32000), ("48000", 48000), ("whole", -1)]
)
def test_every_vector_of_the_cpp_runtime_is_met(
    wespeaker: wire.Stubs, name: str, samples_per_chunk: int
) -> None:
    golden = np.load(shared_path(f"reference/wespeaker_runtime/embeddings_{name}.npz"))
    assert len(golden["ids"]) == 12
    for utterance_id, expected in zip(golden["ids"], golden["embeddings"], strict=True):
        path = shared_path(f"reference/wespeaker_runtime/audio/{utterance_id}.flac")
        found = embed(wespeaker, read(path), samples_per_chunk)
        assert cosine(found, expected.astype(np.float64)) >= 0.99999, utterance_id


def test_every_similarity_of_asv_main_is_met(wespeaker: wire.Stubs) -> None:
    with shared_path("reference/wespeaker_runtime/asv_scores.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == 20
    for row in rows:
        first, second = (
            read(shared_path(f"reference/wespeaker_runtime/audio/{row[side]}.flac"))
            for side in ("enroll", "test")
        )
        request = pb.CompareRequest(
            first=pb.Audio(format=wire.PCM16, content=pcm16(first)),
            second=pb.Audio(format=wire.PCM16, content=pcm16(second)),
            samples_per_chunk=int(row["samples_per_chunk"]),
        )
        response = wespeaker.verification.Compare(request, timeout=wire.DEADLINE_S)
        # The shipped weights are stored as float16; the runtime's were float32.
        assert response.scores[1].value == pytest.approx(float(row["similarity"]), abs=5e-4)


def test_whole_utterances_are_embedded_as_3d_speaker_does(daemon: Daemon) -> None:
    golden = np.load(shared_path("reference/campplus_whole_utterance.npz"))
    expected = dict(zip(golden["ids"], golden["embeddings"], strict=True))
    assert sorted(expected) == eval_ids()
    with wire.connected(daemon.address) as stubs:
        for utterance_id in eval_ids():
            found = embed(stubs, eval_utterance(utterance_id), -1)
            assert cosine(found, expected[utterance_id].astype(np.float64)) >= 0.9999


def test_the_bundle_for_wespeaker_has_an_identity_of_its_own(
    wespeaker: wire.Stubs, daemon: Daemon, tmp_path: Path
) -> None:
    with wire.connected(daemon.address) as shipped:
        speech = np.tile(read_any(), 2)
        requests = pb.EmbedRequest(audio=pb.Audio(format=wire.PCM16, content=pcm16(speech)))
        theirs = wespeaker.verification.Embed(requests).model
        ours = shipped.verification.Embed(requests).model
    assert theirs.front_end != ours.front_end


def read_any() -> npt.NDArray[np.float32]:
    return eval_utterance(eval_ids()[0])
