"""Utterances for tests of KServe's protocol, their truth, and mistakes with their answers."""

from __future__ import annotations

import numpy as np
from speakerd.v1 import audio_pb2
from speakerd.v1 import verification_pb2 as pb
from support import wire
from support.daemon import Daemon
from support.speech import VOICES, Float32, noise, read

FLOATS = audio_pb2.AudioFormat(encoding=audio_pb2.AUDIO_ENCODING_FLOAT32LE, sample_rate_hz=16_000)
VOICE = read(VOICES / "slt-call.flac")
AUDIO = {
    "shortest": VOICE[16_000:16_720],
    "one second": VOICE[16_000:32_000],
    "two seconds": VOICE[16_000:48_320],
    "noise": noise(1.234),
    "thirty seconds": np.tile(VOICE, 5)[:480_000],
}
"""float32[n] each, at 16 kHz."""
MISTAKES = [
    ("model", "Request for unknown model: 'none' is not found"),
    ("version", "Request for unknown model: 'speaker' version 7 is not found"),
    ("name", "unexpected inference input 'wav' for model 'speaker'"),
    ("datatype", "inference input 'WAV' data-type is 'FP64', but model 'speaker' expects"),
    ("shape", "unexpected shape for input 'WAV' for model 'speaker'. Expected [-1,-1], got"),
    ("batch 0", "inference request batch-size must be from 1 to 64 for 'speaker'"),
    ("batch 100", "inference request batch-size must be from 1 to 64 for 'speaker'"),
    ("nan", "sample 0 is NaN or infinite"),
    ("silence", "nothing varies in the audio"),
    ("short", "at least 45 ms are needed"),
    ("output", "unexpected inference output 'embs' for model 'speaker'"),
    ("classes", "classification of 'EMBEDDINGS'"),
    ("shared", "'WAV' in shared memory"),
    ("sequence", "sequence_id"),
]
"""Name of a mistake in `triton_asked.refused`, and words of the answer that clients look for."""


def embedded_whole(daemon: Daemon) -> dict[str, Float32]:
    """Give what `Embed` says of each utterance as a whole, alone: float32[1, dim]."""
    found = {}
    with wire.connected(daemon.address) as stubs:
        for name, samples in AUDIO.items():
            audio = pb.Audio(format=FLOATS, content=samples.tobytes())
            request = pb.EmbedRequest(audio=audio, samples_per_chunk=-1)
            embedding = stubs.verification.Embed(request, timeout=wire.DEADLINE_S).embedding
            found[name] = np.array([embedding], np.float32)
    return found


def alike(a: Float32, b: Float32) -> bool:
    """Tell whether two float32[1, dim] are one embedding, as closely as the engine promises."""
    x, y = a[0].astype(np.float64), b[0].astype(np.float64)
    return bool(x @ y / np.linalg.norm(x) / np.linalg.norm(y) >= 1 - 1e-6)
