"""Where a service listens: its ports, had before any worker is started."""

import errno
import socket
from typing import Callable, List, Tuple

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
    return [] if port < 0 else at_each_address(host, port, option, _listen_at)


def reserve(host: str, port: int) -> Tuple[List[socket.socket], str]:
    """Keep a port for the workers' gRPC servers, which share it, at each address of the host that this machine has.

    Returns:
        The sockets that keep it, and the addresses, with commas between them.

    Raises:
        InputError: the host has no address here, or the port is taken at one.
    """
    sockets = at_each_address(host, port, "rpc_port", _reserve_at)
    return sockets, ",".join(address_of(sock) for sock in sockets)


def _listen_at(address: Address) -> socket.socket:
    sock = bind(address, socket.SO_REUSEADDR)
    try:
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def _reserve_at(address: Address) -> socket.socket:
    """gRPC shares a port with whoever else does (SO_REUSEPORT), also with another service that it was meant for: that
    it is free is tried first, without sharing."""
    bind(address, socket.SO_REUSEADDR).close()
    return bind(address, socket.SO_REUSEPORT)


def at_each_address(host: str, port: int, option: str, have: Callable[[Address], socket.socket]) -> List[socket.socket]:
    """Sockets at the same port of all addresses of a host that this machine has; where the port is 0, a free one.

    Raises:
        InputError: it has none of them, or the port is taken at one.
    """
    addresses = resolve(host, port)
    for tries_left in reversed(range(FREE_PORT_TRIES if port == 0 else 1)):
        try:
            return _at_each(addresses, have)
        except OSError as error:  # what is free at one address may be taken at the next
            if error.errno != errno.EADDRINUSE or not tries_left:
                raise taken(host, port, option, error) from None
    raise AssertionError("the last try returns or raises")


def _at_each(addresses: List[Address], have: Callable[[Address], socket.socket]) -> List[socket.socket]:
    sockets: List[socket.socket] = []
    absent = OSError(errno.EADDRNOTAVAIL, "no address")
    try:
        for family, (host, port, *rest) in addresses:
            free = sockets[0].getsockname()[1] if sockets else port
            try:
                sockets.append(have((family, (host, free, *rest))))
            except OSError as error:
                if error.errno not in ABSENT:
                    raise
                absent = error
        if not sockets:
            raise absent
    except OSError:
        for sock in sockets:
            sock.close()
        raise
    return sockets
