"""Open files: a connection is one, and a process may have only so many."""

import resource

from ernie_inference.errors import InputError
from ernie_serving.service_config import ServiceConfig

SPARE = 192  # libraries, model files while they are read, pipes, counters, what gRPC has for itself


def descriptors_needed(config: ServiceConfig) -> int:
    """Open files of one worker at the most."""
    ways = 1 if config.http_port < 0 else 2
    return ways * config.max_connections + SPARE + 16 * len(config.models)


def raise_limit(config: ServiceConfig) -> None:
    """Let this process, and those that it starts, have as many open files as the system lets them.

    Raises:
        InputError: these are not enough for the connections that the service may have.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = descriptors_needed(config)
    if resource.RLIM_INFINITY not in (soft, hard) and needed > hard:
        raise InputError(
            f"max_connections {config.max_connections} takes up to {needed} open files in a worker, and the system "
            f"allows {hard}: give a smaller max_connections, or raise the limit (ulimit -Hn)"
        )
    if soft != resource.RLIM_INFINITY and needed > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard != resource.RLIM_INFINITY else needed, hard))
