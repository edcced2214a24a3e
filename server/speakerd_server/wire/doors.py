"""Every door of one process: gRPC, and KServe's protocol over HTTP where it has an address."""

from __future__ import annotations

from typing import TYPE_CHECKING

from speakerd_server.calls.administration import Administration
from speakerd_server.calls.inference import Inference
from speakerd_server.calls.inference_catalog import KserveSettings
from speakerd_server.calls.serving import Serving
from speakerd_server.wire.server import GrpcServer, ServerSettings

if TYPE_CHECKING:
    from speakerd_server.wire.kserve_http_server import HttpServer


class Doors:
    """What a process is asked through.

    Args:
        serving: What all calls share.
        administration: Of the whole daemon.
        server: Where gRPC listens.
        kserve: Where HTTP listens, if anywhere.
        folder: Of models that can be loaded beside the shipped ones; empty: there is none.
        shared_ports: Whether other processes listen on the same ports too.
    """

    def __init__(
        self,
        serving: Serving,
        administration: Administration,
        server: ServerSettings,
        kserve: KserveSettings,
        folder: str = "",
        *,
        shared_ports: bool = False,
    ) -> None:
        inference = Inference(serving, administration, kserve, folder)
        self._grpc = GrpcServer(
            serving, administration, inference, server, shared_port=shared_ports
        )
        self._http: HttpServer | None = None
        if kserve.http_address:
            # Its library costs a tenth of a second and some MiB, which commands do without.
            from speakerd_server.wire.kserve_http_server import HttpServer

            self._http = HttpServer(inference, kserve.http_address, shared_port=shared_ports)

    async def start(self) -> tuple[str, str]:
        """Listen; gives the addresses with their real ports, gRPC's and HTTP's, if any.

        Raises AddressUnavailable.
        """
        address = await self._grpc.start()
        return address, await self._http.start() if self._http is not None else ""

    async def tell_health(self, *, serving: bool) -> None:
        """Set the health that is told."""
        await self._grpc.tell_health(serving=serving)

    async def stop(self) -> None:
        """Stop listening; calls still open are cancelled."""
        if self._http is not None:
            await self._http.stop()
        await self._grpc.stop(0)
