"""`speakerd extract` over the 60 eval recordings, beside what people run today and the bare engine.

Prints one JSON line. Everything is in one process, and takes turns; ratios are medians of the
rounds. Loading the model is left out on every side, reading the files and writing the output is
counted. On one core:

- `plain`: kaldi-native-fbank and the plain `feats` export of the same network (torch's exporter)
  in Python, one window at a time; bar 1.14 (design section 9);
- `bare`: the shipped graph with windows ready in memory, the fastest batch of 1, 8 and 16; bar
  0.95 of its windows per second.

On two cores extract's two threads stand against the fastest bare layout, bar 0.95.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import kaldi_native_fbank
import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import soundfile
from speakerd_server.models.bundle import load_bundle, shipped_bundle
from speakerd_server.offline.embedding import Extractor
from speakerd_server.offline.extraction import extract
from speakerd_server.offline.lists import Listed, read_wav_scp
from speakerd_server.offline.vectors import read_vectors
from support.bare import BareEngine, Layout
from support.checkpoint import real_checkpoint
from support.plain_campplus import plain_export
from support.shared import shared_path

Float32 = npt.NDArray[np.float32]

ROUNDS = 7
BARE_S = 4.0
WINDOW_FRAMES = 198
ONE_CORE = tuple(Layout(1, 1, batch) for batch in (1, 8, 16))


class Plain:
    """What a script does today: features by the library, windows one by one."""

    def __init__(self) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = ort.InferenceSession(
            plain_export(real_checkpoint()), options, providers=["CPUExecutionProvider"]
        )
        self.fbank = kaldi_native_fbank.FbankOptions()
        self.fbank.frame_opts.dither = 0.0
        self.fbank.frame_opts.window_type = "povey"
        self.fbank.mel_opts.num_bins = 80

    def features(self, path: Path) -> Float32:
        samples, rate_hz = soundfile.read(path, dtype="float32")
        online = kaldi_native_fbank.OnlineFbank(self.fbank)
        online.accept_waveform(rate_hz, samples)
        online.input_finished()
        frames = [online.get_frame(frame) for frame in range(online.num_frames_ready)]
        return np.stack(frames).astype(np.float32)

    def embed(self, path: Path) -> Float32:
        features = self.features(path)
        embeddings = []
        for start in range(0, len(features), WINDOW_FRAMES):
            rows = np.arange(start, start + WINDOW_FRAMES)
            window = features[np.where(rows < len(features), rows, rows - len(features))]
            window = window - window.mean(0)
            embeddings.append(self.session.run(None, {"feats": window[None]})[0][0])
        mean: Float32 = np.mean(embeddings, axis=0)
        return mean

    def run(self, recordings: Iterable[Listed], output: Path) -> None:
        pairs = [(one.id, self.embed(one.path)) for one in recordings]
        np.savez(output, ids=[name for name, _ in pairs], embeddings=[row for _, row in pairs])


def seconds_of(recordings: tuple[Listed, ...], extractor: Extractor, output: Path) -> float:
    begun_s = time.perf_counter()
    extract(recordings, extractor, output, overwrite=True)
    return time.perf_counter() - begun_s


def main() -> None:
    scp = shared_path("data/trials/wav.scp")
    recordings = read_wav_scp(scp, scp.parents[2])
    bundle = load_bundle(shipped_bundle())
    every_core = os.sched_getaffinity(0)
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "x.ark"
        os.sched_setaffinity(0, {min(every_core)})
        result = one_core(recordings, Extractor(bundle), output)
        if len(every_core) >= 2:
            os.sched_setaffinity(0, set(sorted(every_core)[:2]))
            result |= two_cores(recordings, Extractor(bundle, threads=2), output)
    print(json.dumps({"bench": "extract", "model": str(bundle.card.identity), **result}))


def one_core(
    recordings: tuple[Listed, ...], extractor: Extractor, output: Path
) -> dict[str, object]:
    plain, bare, beside = Plain(), BareEngine(WINDOW_FRAMES), output.with_suffix(".npz")
    layout = max(ONE_CORE, key=lambda one: bare.windows_per_s(one, BARE_S))
    totals = extract(recordings, extractor, output, overwrite=True)
    plain.run(recordings, beside)
    rounds = []
    for _ in range(ROUNDS):
        begun_s = time.perf_counter()
        plain.run(recordings, beside)
        plain_s = time.perf_counter() - begun_s
        ours_s = seconds_of(recordings, extractor, output)
        rounds.append((ours_s, plain_s, bare.windows_per_s(layout, BARE_S)))
    ours_s, plain_s, bare_per_s = map(statistics.median, zip(*rounds, strict=True))
    return {
        "recordings": totals.embedded,
        "audio_s": round(totals.audio_s, 1),
        "windows": totals.windows,
        "over_plain": round(statistics.median(plain / ours for ours, plain, _ in rounds), 3),
        "over_bare": round(
            statistics.median(totals.windows / ours / bare for ours, _, bare in rounds), 3
        ),
        "rtf": round(ours_s / totals.audio_s, 5),
        "plain_rtf": round(plain_s / totals.audio_s, 5),
        "windows_per_s": round(totals.windows / ours_s, 1),
        "bare_per_s": round(bare_per_s, 1),
        "bare_layout": str(layout),
        "lowest_cosine_to_plain": lowest_cosine(output, beside),
    }


def two_cores(
    recordings: tuple[Listed, ...], extractor: Extractor, output: Path
) -> dict[str, object]:
    bare = BareEngine(WINDOW_FRAMES)
    layout = bare.best(BARE_S)
    windows = extract(recordings, extractor, output, overwrite=True).windows
    rounds = [
        (windows / seconds_of(recordings, extractor, output), bare.windows_per_s(layout, BARE_S))
        for _ in range(ROUNDS)
    ]
    return {
        "two_cores_over_bare": round(statistics.median(ours / bare for ours, bare in rounds), 3),
        "two_cores_windows_per_s": round(statistics.median(ours for ours, _ in rounds), 1),
        "two_cores_bare_per_s": round(statistics.median(bare for _, bare in rounds), 1),
        "two_cores_bare_layout": str(layout),
    }


def lowest_cosine(ours: Path, plain: Path) -> float:
    """Hold the two to each other: a script that computes something else would be no measure."""
    found, expected = read_vectors(ours), read_vectors(plain)
    products = np.sum(found.values * expected.values, axis=1)
    lengths = np.linalg.norm(found.values, axis=1) * np.linalg.norm(expected.values, axis=1)
    return round(float(np.min(products / lengths)), 7)


if __name__ == "__main__":
    main()
