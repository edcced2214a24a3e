"""Ask a daemon for its health: exit code 0 when it is SERVING, else 1 and a line that says why.

Usage: healthcheck.py [HOST:PORT]. Needs what the daemon itself needs, nothing more.
"""

from __future__ import annotations

import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

DEFAULT_ADDRESS = "127.0.0.1:8001"
TIMEOUT_S = 3.0


def main() -> None:
    """Ask once."""
    address = sys.argv[1] if len(sys.argv) > 1 else DEFAULT_ADDRESS
    with grpc.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
        except grpc.RpcError as error:
            sys.exit(f"no health from {address}: {error.code().name} {error.details()}")
    status = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    if status != "SERVING":
        sys.exit(f"the daemon at {address} is {status}")


if __name__ == "__main__":
    main()
