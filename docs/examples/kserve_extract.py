"""Embed a wav.scp over KServe's protocol into Kaldi ark and scp, with Triton's own client.

    pip install 'tritonclient[grpc]' kaldiio numpy soundfile
    python kserve_extract.py ADDRESS WAV_SCP OUTPUT_DIRECTORY

What WeSpeaker's client.py does, against the model `speaker` of a Triton or of speakerd. Recordings
are 16 kHz mono.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import kaldiio
import numpy as np
import soundfile
import tritonclient.grpc as triton

Float32 = np.ndarray[Any, np.dtype[np.float32]]
AT_ONCE = 8


def embedded(client: Any, path: str) -> Float32:
    """Give the embedding, float32[dim], of a whole recording."""
    samples, _ = soundfile.read(path, dtype="float32")
    wav = triton.InferInput("WAV", [1, len(samples)], "FP32")
    wav.set_data_from_numpy(samples[None])
    (embedding,) = client.infer("speaker", [wav]).as_numpy("EMBEDDINGS")
    return np.asarray(embedding)


def listed(wav_scp: Path) -> Iterator[list[str]]:
    """Give id and path of every line."""
    for line in wav_scp.read_text(encoding="utf-8").splitlines():
        yield line.split(maxsplit=1)


def main() -> None:
    """Embed a list, several recordings at a time; the files have the list's order."""
    address, wav_scp, folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    specifier = f"ark,scp:{folder / 'xvector.ark'},{folder / 'xvector.scp'}"
    names, paths = zip(*listed(wav_scp), strict=True)
    with (
        triton.InferenceServerClient(address) as client,
        kaldiio.WriteHelper(specifier) as writer,
        ThreadPoolExecutor(AT_ONCE) as pool,
    ):
        embeddings = pool.map(lambda path: embedded(client, path), paths)
        for name, embedding in zip(names, embeddings, strict=True):
            writer(name, embedding)


if __name__ == "__main__":
    main()
