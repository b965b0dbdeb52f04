"""A disk that gets full."""

import resource
from contextlib import contextmanager
from typing import Iterator


@contextmanager
def full_disk(most_bytes: int) -> Iterator[None]:
    """A limit on the size of files stands for a disk that is full before a larger file is whole."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
