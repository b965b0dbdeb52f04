"""Where a service listens: its ports, had before any worker is started."""

import errno
import socket
from typing import List, Optional, Tuple

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


def listen(host: str, port: int, option: str) -> Optional[socket.socket]:
    """A listening socket; None for port -1."""
    if port < 0:
        return None
    try:
        sock = bind(resolve(host, port)[0], socket.SO_REUSEADDR)
        sock.listen(BACKLOG)
    except OSError as error:
        raise taken(host, port, option, error) from None
    return sock


def reserve(host: str, port: int) -> Tuple[List[socket.socket], str]:
    """Keep a port for the workers' gRPC servers, which share it, at each address of the host that this machine has.

    gRPC shares a port with whoever else does (SO_REUSEPORT), also with another service that it was meant for: that it
    is free is tried first, without sharing.

    Returns:
        The sockets that keep it, and the addresses, with commas between them.

    Raises:
        InputError: the host has no address here, or the port is taken at one.
    """
    addresses = resolve(host, port)
    for tries_left in reversed(range(FREE_PORT_TRIES if port == 0 else 1)):
        try:
            sockets = _reserve_at(addresses)
            return sockets, ",".join(address_of(sock) for sock in sockets)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or not tries_left:
                raise taken(host, port, "rpc_port", error) from None
    raise AssertionError("the last try returns or raises")


def _reserve_at(addresses: List[Address]) -> List[socket.socket]:
    """All at the same port; where that is 0, at one that is free at the first address.

    Raises:
        OSError: none of them is this machine's, or the port is taken at one.
    """
    sockets: List[socket.socket] = []
    absent = None
    try:
        for family, (host, port, *rest) in addresses:
            at = (family, (host, sockets[0].getsockname()[1] if sockets else port, *rest))
            try:
                bind(at, socket.SO_REUSEADDR).close()
                sockets.append(bind(at, socket.SO_REUSEPORT))
            except OSError as error:
                if error.errno not in ABSENT:
                    raise
                absent = error
        if not sockets and absent is not None:
            raise absent
    except OSError:
        for sock in sockets:
            sock.close()
        raise
    return sockets
