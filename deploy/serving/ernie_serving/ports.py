"""Where a service listens: its ports, had before any worker is started."""

import socket
from typing import Optional, Tuple

from ernie_inference.errors import InputError

BACKLOG = 512


def host_port(host: str, port: int) -> str:
    """An address as gRPC and URLs have it: 127.0.0.1:80, [::1]:80."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def address_of(sock: socket.socket) -> str:
    return host_port(*sock.getsockname()[:2])


def bind(host: str, port: int, option: str, name: int) -> socket.socket:
    """A socket bound to an address, with a socket option set.

    Raises:
        InputError: the address is not this machine's, or the port is taken.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        sock = socket.socket(family, kind)
    except OSError as error:
        raise InputError(f"host {host} is no address ({error.strerror}): use 127.0.0.1, or 0.0.0.0 for all") from None
    try:
        sock.setsockopt(socket.SOL_SOCKET, name, 1)
        sock.bind(address)
    except OSError as error:
        sock.close()
        raise taken(host, port, option, error) from None
    return sock


def taken(host: str, port: int, option: str, error: OSError) -> InputError:
    return InputError(f"{option} {port} at {host} cannot be had ({error.strerror}): give another --{option}")


def listen(host: str, port: int, option: str) -> Optional[socket.socket]:
    """A listening socket; None for port -1."""
    if port < 0:
        return None
    sock = bind(host, port, option, socket.SO_REUSEADDR)
    try:
        sock.listen(BACKLOG)
    except OSError as error:
        raise taken(host, port, option, error) from None
    return sock


def reserve(host: str, port: int) -> Tuple[socket.socket, str]:
    """Keep a port for the workers' gRPC servers, which share it. Returns the socket that keeps it, and the address.

    gRPC shares a port with whoever else does (SO_REUSEPORT), also with another service that it was meant for: that it
    is free is tried first, without sharing.
    """
    bind(host, port, "rpc_port", socket.SO_REUSEADDR).close()
    sock = bind(host, port, "rpc_port", socket.SO_REUSEPORT)
    return sock, address_of(sock)
