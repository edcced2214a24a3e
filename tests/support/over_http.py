"""KServe's inference protocol over HTTP, spoken over plain sockets so that every mistake can be."""

from __future__ import annotations

import gzip
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import parse_headers
from types import TracebackType
from typing import Any, Self

import numpy as np
from support.speech import Float32

PATIENCE_S = 15.0
LENGTH = "Inference-Header-Content-Length"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        told = self.json
        assert list(told) == ["error"]
        return str(told["error"])

    @property
    def reason(self) -> str:
        return self.headers["Speakerd-Reason"]

    @property
    def embeddings(self) -> Float32:
        """Read them from JSON or binary data."""
        json_bytes = int(self.headers.get(LENGTH, len(self.body)))
        (output,) = json.loads(self.body[:json_bytes])["outputs"]
        values: Float32 = (
            np.array(output["data"], np.float32)
            if "data" in output
            else np.frombuffer(self.body[json_bytes:], "<f4")
        )
        return values.reshape(output["shape"])


class Line:
    """One connection."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), PATIENCE_S)
        self._file = self._socket.makefile("rb")

    def send(self, content: bytes) -> None:
        self._socket.sendall(content)

    def line(self) -> bytes:
        return self._file.readline()

    def answer(self) -> Answer:
        first = self._file.readline()
        assert first.startswith(b"HTTP/1."), first
        headers = parse_headers(self._file)
        body = self._file.read(int(headers["Content-Length"]))
        return Answer(int(first.split()[1]), dict(headers.items()), body)

    def is_closed(self) -> bool:
        """Wait for the other side to close it."""
        try:
            return self._file.read(1) == b""
        except ConnectionResetError:
            return True

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def written(method: str, path: str, body: bytes = b"", /, **headers: str) -> bytes:
    """Write a request; underscores in the names of headers become dashes."""
    lines = {"Host": "speakerd", "Content-Length": str(len(body))}
    lines |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value)
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body


def asked(address: str, request: bytes) -> Answer:
    """Send one request over a connection of its own."""
    with Line(address) as line:
        line.send(request)
        return line.answer()


def gzipped(content: bytes) -> bytes:
    return gzip.compress(content, 1)


def get(address: str, path: str) -> Answer:
    return asked(address, written("GET", path))


def post(address: str, path: str, body: bytes = b"", /, **headers: str) -> Answer:
    return asked(address, written("POST", path, body, **headers))


def wav(samples: Float32, **changes: Any) -> dict[str, Any]:
    """Describe utterances of one length as an input."""
    return {"name": "WAV", "datatype": "FP32", "shape": samples.shape} | changes


def in_json(samples: Float32, **more: Any) -> bytes:
    """Write the body that asks for the embeddings of utterances, in JSON."""
    return json.dumps({"inputs": [wav(samples, data=samples.ravel().tolist())]} | more).encode()


def in_binary(samples: Float32, size: int | None = None, **more: Any) -> tuple[bytes, str]:
    """Write it with binary data, in both directions; gives the length of the JSON as well."""
    size = samples.nbytes if size is None else size
    one = wav(samples, parameters={"binary_data_size": size})
    said = {"inputs": [one], "parameters": {"binary_data_output": True}} | more
    head = json.dumps(said).encode()
    return head + samples.astype("<f4").tobytes(), str(len(head))


def binary_request(
    samples: Float32, model: str = "speaker", /, *, said: Mapping[str, Any] = {}, **headers: str
) -> bytes:
    """Write a whole request with binary data."""
    body, length = in_binary(samples, **said)
    return written(
        "POST",
        f"/v2/models/{model}/infer",
        body,
        **({"Inference_Header_Content_Length": length} | headers),
    )
