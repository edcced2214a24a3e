"""A connection that is kept open and carries one HTTP/1.1 request at a time."""

from __future__ import annotations

import asyncio

from speakerd_client.errors import NotReachable, TooSlow
from speakerd_client.load.channels import CONNECT_S
from speakerd_client.load.http_answer import HEAD_LIMIT_BYTES, Answer, read_answer
from speakerd_client.status import CONNECTION_LOST


def http_request(method: str, address: str, path: str, body: bytes = b"", **fields: str) -> bytes:
    """Make the bytes of a request; `_` in the names of fields stands for `-`."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {address}", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    return "\r\n".join((*lines, "", "")).encode() + body


class HttpConnection:
    """Asks one address; opened once more where the server, or a failure, has ended it.

    Args:
        address: "host:port", the host of IPv6 in brackets.
        answer_s: Longest wait for an answer.
    """

    def __init__(self, address: str, answer_s: float) -> None:
        self._address, self._answer_s = address, answer_s
        self._ends: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    @property
    def is_open(self) -> bool:
        """Whether the next request goes out at once."""
        return self._ends is not None

    async def open(self) -> None:
        """Connect. Raises NotReachable."""
        host, _, port = self._address.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        try:
            async with asyncio.timeout(CONNECT_S):
                self._ends = await asyncio.open_connection(host, port, limit=HEAD_LIMIT_BYTES)
        except (OSError, UnicodeError) as error:  # a timeout is an OSError
            why = getattr(error, "strerror", None) or str(error) or "no answer in time"
            raise NotReachable(f"no server answers at {self._address} ({why})") from error

    async def ask(self, request: bytes) -> Answer:
        """Send a request and give its answer.

        Raises:
            NotReachable: Nobody answers, or the connection was lost before the answer.
            TooSlow: The answer did not come in time.
            SpeakerdError: What came is no answer, see `read_answer`.
        """
        if self._ends is None:
            await self.open()
        assert self._ends is not None
        reader, writer = self._ends
        keeps_open = False
        try:
            async with asyncio.timeout(self._answer_s):
                writer.write(request)
                answer = await read_answer(reader)
            # An answer that came before all was sent leaves a rest that is no request.
            keeps_open = answer.head.keeps_open and not writer.transport.get_write_buffer_size()
        except TimeoutError:
            text = f"the server at {self._address} did not answer within {self._answer_s:g} s"
            raise TooSlow(text) from None
        except (asyncio.IncompleteReadError, OSError) as error:
            raise NotReachable(
                f"the connection to the server at {self._address} was lost before its answer"
                f" ({type(error).__name__}: {error})",
                reason=CONNECTION_LOST,
            ) from error
        finally:
            if not keeps_open:
                self.close()
        return answer

    def close(self) -> None:
        """End the connection at once."""
        if self._ends is not None:
            self._ends[1].transport.abort()
            self._ends = None
