"""The gRPC server: services, health, reflection and the address."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from speakerd.kserve import inference_pb2, inference_pb2_grpc
from speakerd.v1 import (
    admin_pb2,
    admin_pb2_grpc,
    enrollment_pb2,
    enrollment_pb2_grpc,
    verification_pb2,
    verification_pb2_grpc,
)

from speakerd_server.calls.administration import Administration
from speakerd_server.calls.inference import Inference
from speakerd_server.calls.serving import Serving
from speakerd_server.errors import AddressUnavailable
from speakerd_server.wire.admin import AdminService
from speakerd_server.wire.enrollment import EnrollmentService
from speakerd_server.wire.kserve import InferenceService
from speakerd_server.wire.verification import VerificationService

MESSAGE_BYTES = 64 << 20
SERVICES = (
    verification_pb2.DESCRIPTOR.services_by_name["VerificationService"].full_name,
    enrollment_pb2.DESCRIPTOR.services_by_name["EnrollmentService"].full_name,
    admin_pb2.DESCRIPTOR.services_by_name["AdminService"].full_name,
    inference_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name,
)


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Where the daemon listens and how it stops."""

    address: str = "127.0.0.1:8001"
    """Host and port of gRPC; port 0 takes any free one. There is no TLS yet: keep to loopback or
    a network you trust."""
    metrics_address: str = "127.0.0.1:8002"
    """Host and port of the Prometheus page; empty: none."""
    workers: int = field(default=1, metadata={"minimum": 1, "maximum": 256})
    """Processes that take calls on the one port. One is best until it fills a processor with calls;
    with more, engine and store have processes of their own."""
    drain_grace_s: float = field(default=30.0, metadata={"minimum": 0.0, "maximum": 86_400.0})
    """After SIGTERM, open calls may finish for so long."""
    keepalive_s: float = field(default=20.0, metadata={"minimum": 1.0, "maximum": 3600.0})
    """A silent connection is probed so often, and dropped when no answer comes in 10 s."""


def host_and_port(address: str, setting: str) -> tuple[str, int]:
    """Split HOST:PORT, with an IPv6 host in brackets; raises AddressUnavailable."""
    found = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]]+):(\d{1,5})", address)
    if found is None or int(found[2]) > 65535:
        raise AddressUnavailable(address, setting, "it is not HOST:PORT with a port up to 65535")
    return found[1], int(found[2])


class GrpcServer:
    """One port with every service of the contract."""

    def __init__(
        self,
        serving: Serving,
        administration: Administration,
        inference: Inference,
        settings: ServerSettings,
        *,
        shared_port: bool = False,
    ) -> None:
        """Build it; with `shared_port`, other processes listen on the same port too."""
        limits = serving.settings
        keepalive_ms = round(settings.keepalive_s * 1000)
        self._settings, self._inference = settings, inference
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", MESSAGE_BYTES),
                ("grpc.max_send_message_length", MESSAGE_BYTES),
                ("grpc.so_reuseport", int(shared_port)),
                ("grpc.keepalive_time_ms", keepalive_ms),
                ("grpc.keepalive_timeout_ms", 10_000),
                ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
            ],
            # Twice what the calls refuse by name: the last bound, for a flood of refused ones.
            maximum_concurrent_rpcs=2 * (limits.maximum_streams + limits.maximum_unary_calls) + 256,
        )
        self.health = health.aio.HealthServicer()
        verification_pb2_grpc.add_VerificationServiceServicer_to_server(
            VerificationService(serving), self._server
        )
        enrollment_pb2_grpc.add_EnrollmentServiceServicer_to_server(
            EnrollmentService(serving), self._server
        )
        admin_pb2_grpc.add_AdminServiceServicer_to_server(
            AdminService(serving, administration), self._server
        )
        inference_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(
            InferenceService(inference), self._server
        )
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self._server)
        names = (*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)

    async def start(self) -> str:
        """Listen; gives the address with the real port. Raises AddressUnavailable."""
        address = self._settings.address
        host, _port = host_and_port(address, "server.address")
        try:
            port = self._server.add_insecure_port(address)
        except RuntimeError:
            cause = "another program listens there, or this host has no such address"
            raise AddressUnavailable(address, "server.address", cause) from None
        await self._server.start()
        return f"{host}:{port}"

    async def tell_health(self, *, serving: bool) -> None:
        """Set the health of the server and of each of its services."""
        states = health_pb2.HealthCheckResponse
        self._inference.well = serving
        status = states.SERVING if serving else states.NOT_SERVING
        for name in ("", *SERVICES):
            await self.health.set(name, status)

    async def stop(self, grace_s: float) -> None:
        """Stop listening; calls still open after the grace are cancelled."""
        await self._server.stop(grace_s)
