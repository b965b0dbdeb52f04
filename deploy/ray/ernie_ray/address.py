"""Whether a Ray cluster listens where --address says: asked before Ray is, which waits for minutes."""

import os
import socket

import grpc

from ernie_inference.errors import InputError

AUTO, CLIENT = "auto", "ray://"
CONNECT_SECONDS = 10
# Methods of Ray's control service (GCS), and of its server for clients; they take an empty message.
CONTROL_METHOD, CLIENT_METHOD = "/ray.rpc.NodeInfoGcsService/GetClusterId", "/ray.rpc.RayletDriver/ClusterInfo"
# What others than Ray give: a gRPC server of something else, a server of another protocol, one that says nothing.
NOT_RAY = (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


def check_address(address: str) -> None:
    """Refuse an address where there is no cluster, in CONNECT_SECONDS at most for each of two questions.

    Raises:
        InputError: it is no address, nobody listens there, or something else than Ray does.
    """
    if address == AUTO:
        return
    is_client = address.startswith(CLIENT)
    host, _, port = address[len(CLIENT) * is_client :].rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise InputError(f"--address {address}: give auto, host:port or ray://host:port")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except OSError as error:
        raise InputError(f"--address {address}: no Ray cluster is there ({error.strerror or error})") from None
    if os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true"):
        return  # the question would need Ray's own certificates
    with grpc.insecure_channel(f"{host}:{port}", [("grpc.enable_http_proxy", 0)]) as channel:
        ask = channel.unary_unary(CLIENT_METHOD if is_client else CONTROL_METHOD)
        try:
            ask(b"", timeout=CONNECT_SECONDS)
        except grpc.RpcError as error:
            if error.code() in NOT_RAY:  # with any other error it is a Ray that wants more than an empty message
                kind = "Ray's server for clients" if is_client else "a Ray cluster"
                raise InputError(f"--address {address}: something else than {kind} listens there") from None
