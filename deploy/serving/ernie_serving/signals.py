"""Signals for a process with many threads."""

import os
import signal
import threading
from typing import Callable


def on_signals(handle: Callable[[int], None], *numbers: int) -> None:
    """From now on call handle(number) for each of these signals, in a thread of its own. Once a process, from its main
    thread.

    A handler of Python's own runs in the main thread wherever that is, also where it holds the lock that the handler
    is going to wait for. Here the handler that does the work is C code, which writes the number into a pipe.
    """
    read, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)  # first, so that no signal comes between and is lost
    for number in numbers:
        signal.signal(number, lambda *_: None)

    def watch() -> None:
        while True:
            for number in os.read(read, 64):
                if number in numbers:
                    handle(number)

    threading.Thread(target=watch, daemon=True).start()
