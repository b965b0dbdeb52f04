"""Where a service listens: its ports, had before any worker is started."""

import errno
import socket
from typing import List, Tuple

from ernie_inference.errors import InputError

BACKLOG = 512
ABSENT = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)  # an address of a family that this machine does not have
FREE_PORT_TRIES = 10

Address = Tuple[int, Tuple]  # family, and what bind() takes


def host_port(host: str, port: int) -> str:
    """An address as gRPC and URLs have it: 127.0.0.1:80, [::1]:80."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def address_of(sock: socket.socket) -> str:
    return host_port(*sock.getsockname()[:2])


def resolve(host: str, port: int) -> List[Address]:
    """The addresses of a host.

    Raises:
        InputError: it has none.
    """
    # localhost means both (RFC 6761), and a client may try either first, whatever the hosts file of this machine says.
    hosts = ("127.0.0.1", "::1") if host == "localhost" else (host,)
    try:
        found = [each for name in hosts for each in socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)]
    except OSError as error:
        raise InputError(f"host {host} is no address ({error.strerror}): use 127.0.0.1, or 0.0.0.0 for all") from None
    return list(dict.fromkeys((family, address) for family, _, _, _, address in found))


def bind(address: Address, option: int) -> socket.socket:
    """A socket bound to an address, with a socket option set.

    Raises:
        OSError: the address is not this machine's, or the port is taken.
    """
    sock = socket.socket(address[0], socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, option, 1)
        sock.bind(address[1])
    except OSError:
        sock.close()
        raise
    return sock


def taken(host: str, port: int, option: str, error: OSError) -> InputError:
    return InputError(f"{option} {port} at {host} cannot be had ({error.strerror}): give another --{option}")


def listen(host: str, port: int, option: str) -> List[socket.socket]:
    """Listening sockets, one for each address of the host that this machine has; none for port -1.

    Raises:
        InputError: it has none of them, or the port is taken at one.
    """
    if port < 0:
        return []
    addresses = resolve(host, port)
    for tries_left in reversed(range(FREE_PORT_TRIES if port == 0 else 1)):
        try:
            return _listen_at(addresses)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or not tries_left:
                raise taken(host, port, option, error) from None
    raise AssertionError("the last try returns or raises")


def _listen_at(addresses: List[Address]) -> List[socket.socket]:
    """All at the same port; where that is 0, at one that is free at the first address.

    Raises:
        OSError: none of them is this machine's, or the port is taken at one.
    """
    sockets: List[socket.socket] = []
    absent = None
    try:
        for family, (host, port, *rest) in addresses:
            try:
                free = sockets[0].getsockname()[1] if sockets else port
                sockets.append(bind((family, (host, free, *rest)), socket.SO_REUSEADDR))
            except OSError as error:
                if error.errno not in ABSENT:
                    raise
                absent = error
            else:
                sockets[-1].listen(BACKLOG)
        if not sockets and absent is not None:
            raise absent
    except OSError:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def reserve(host: str, port: int) -> Tuple[socket.socket, str]:
    """Keep a port for the workers' gRPC servers, which share it. Returns the socket that keeps it, and the address.

    gRPC shares a port with whoever else does (SO_REUSEPORT), also with another service that it was meant for: that it
    is free is tried first, without sharing.
    """
    address = resolve(host, port)[0]
    try:
        bind(address, socket.SO_REUSEADDR).close()
        sock = bind(address, socket.SO_REUSEPORT)
    except OSError as error:
        raise taken(host, port, "rpc_port", error) from None
    return sock, address_of(sock)
