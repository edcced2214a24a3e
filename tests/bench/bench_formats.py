"""What it costs to read audio: every encoding, one and two channels, files, and how good it is.

    .venv/bin/python tests/bench/bench_formats.py

Prints one JSON line: ms of one core for a second of audio, from bytes to samples at 16 kHz, medians
of 5 rounds; `meter` is what noise, level, clipping and band cost beside that. 100 ms messages are
joined to 2 s, as the session does.
"""

from __future__ import annotations

import io
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import soundfile
from speakerd_server.audio.containers import ContainedAudio, Container, ContainerFormat
from speakerd_server.audio.ingest import Ingest
from speakerd_server.audio.opus_ingest import OpusIngest
from speakerd_server.quality.listening import Listening
from speakerd_server.values import AudioFormat, Encoding, Float32, OggOpus
from support.opus import ogg_opus
from support.signals import to_bytes
from support.speech import RATE_HZ, VOICES, read

ROUNDS, SECONDS, PIECE_S = 5, 60, 2
KINDS = {
    Container.WAV: ("WAV", "PCM_16"),
    Container.FLAC: ("FLAC", "PCM_16"),
    Container.OGG_OPUS: ("OGG", "OPUS"),
}


def main() -> None:
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    speech = np.tile(read(VOICES / "slt-call.flac"), 20)[: SECONDS * RATE_HZ]
    works: dict[str, Callable[[], object]] = {"meter": lambda: metered(speech)}
    for encoding in Encoding:
        for rate_hz in (8_000, 16_000, 48_000):
            for channels in (1, 2):
                name = f"{encoding.value} {rate_hz} Hz x {channels}"
                works[name] = reading(speech, AudioFormat(encoding, rate_hz, channels, 1))
    works["ogg_opus stream"] = streaming(speech)
    for container in Container:
        works[container.value] = containing(speech, container)
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(ROUNDS):
        for name, work in works.items():
            begun_s = time.process_time()
            work()
            taken[name].append(1000 * (time.process_time() - begun_s) / SECONDS)
    found = {name: round(median(all_ms), 4) for name, all_ms in taken.items()}
    print(json.dumps({"bench": "formats", "ms_per_s": found}))


def metered(speech: Float32) -> None:
    listening = Listening(Encoding.PCM16LE)
    for at in range(0, len(speech), PIECE_S * RATE_HZ):
        listening.push(speech[at : at + PIECE_S * RATE_HZ])
        listening.at(at + PIECE_S * RATE_HZ)


def streaming(speech: Float32) -> Callable[[], object]:
    content = ogg_opus(speech)
    piece = OggOpus().bytes_per_second

    def work() -> None:
        ingest = OpusIngest(OggOpus())
        for at in range(0, len(content), piece):
            ingest.push(content[at : at + piece])
        ingest.end()

    return work


def reading(speech: Float32, audio_format: AudioFormat) -> Callable[[], object]:
    rate_hz, channels = audio_format.sample_rate_hz, audio_format.channels
    samples = np.resize(speech, SECONDS * rate_hz)
    side = np.frombuffer(to_bytes(samples, audio_format.encoding), np.uint8)
    frames = side.reshape(-1, audio_format.sample_bytes // channels)
    content = np.repeat(frames, channels, axis=0).tobytes()
    piece = PIECE_S * audio_format.bytes_per_second

    def work() -> None:
        ingest = Ingest(audio_format, RATE_HZ)
        for at in range(0, len(content), piece):
            ingest.push(content[at : at + piece])
        ingest.end()

    return work


def containing(speech: Float32, container: Container) -> Callable[[], object]:
    written = io.BytesIO()
    kind, subtype = KINDS[container]
    soundfile.write(written, speech, RATE_HZ, format=kind, subtype=subtype)
    content = written.getvalue()

    def work() -> None:
        contained = ContainedAudio(content, ContainerFormat(container), 600.0)
        ingest = Ingest(contained.audio_format, RATE_HZ)
        for piece in contained.pieces():
            ingest.push(piece)
        ingest.end()

    return work


if __name__ == "__main__":
    main()
