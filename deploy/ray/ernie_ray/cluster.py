"""Ray, started on this machine or found elsewhere."""

import logging
import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, Optional

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # before Ray is imported: nothing is sent anywhere
os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # its C++ code writes to the screen otherwise

import ray
import ray.data
from ray.exceptions import RayError

import ernie_inference
from ernie_inference.errors import InputError
from ernie_ray.address import check_address
from ernie_ray.store import one_line

LOOPBACK = "127.0.0.1"


@contextmanager
def connected(address: Optional[str], cpus: int) -> Iterator[int]:
    """Ray on this machine with so many processors, or the cluster at an address; yields the processors there are.

    Raises:
        InputError: there is no cluster, or it is of another version.
    """
    if ray.is_initialized():  # in a task of the cluster
        ray.data.DataContext.get_current().enable_progress_bars = False
        yield int(ray.cluster_resources().get("CPU", 0))
        return
    options: Dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        here = {"num_cpus": cpus, "num_gpus": 0, "include_dashboard": False, "_node_ip_address": LOOPBACK}
        options.update(address="local", **here)  # "local": else RAY_ADDRESS would decide
    else:
        check_address(address)
        # The workers of other machines get the code from here.
        folders = [Path(__file__).resolve().parent, Path(ernie_inference.__file__).resolve().parent]
        environment = {"py_modules": [str(folder) for folder in folders], "env_vars": {"RAY_USAGE_STATS_ENABLED": "0"}}
        options.update(address=address, runtime_env=environment)
    try:
        with quiet():
            ray.init(**options)
    except (RayError, ConnectionError, RuntimeError, ValueError, OSError, TimeoutError) as error:
        where = "on this machine" if address is None else f"at --address {address}"
        raise InputError(f"Ray cannot be used {where} ({one_line(error)[:300]})") from None
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # it writes pages; what it raises is said in a line
    yield int(ray.cluster_resources().get("CPU", 0))
    ray.shutdown()  # after an error, command.py ends the process


@contextmanager
def quiet() -> Iterator[None]:
    """Nothing on the screen meanwhile, also of C++ code: what goes wrong is raised too."""
    sys.stdout.flush()
    kept = {number: os.dup(number) for number in (1, 2)}
    nothing = os.open(os.devnull, os.O_WRONLY)
    try:
        for number in kept:
            os.dup2(nothing, number)
        yield
    finally:
        for number, saved in kept.items():
            os.dup2(saved, number)
            os.close(saved)
        os.close(nothing)
