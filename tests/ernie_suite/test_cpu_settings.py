"""Settings of the process for training: the threads, and what malloc keeps."""

import json
import os
import subprocess
import sys

from ernie_suite import cpu_settings

import numpy as np
import paddle
import pytest
from paddlenlp.transformers import ErnieConfig, ErnieForSequenceClassification

from ernie_inference.engines import config
from ernie_inference.processors import describe_processor, usable_processors
from examples import demo
from tests.support.scripts import ROOT

SHAPE = {
    "vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32
}  # fmt: skip


def test_engines_training_demo_and_benchmarks_ask_the_same_function():
    asking = (config, cpu_settings, demo)
    assert all(module.usable_processors is usable_processors for module in asking)
    assert describe_processor(1)["usable_processors"] == usable_processors()
    assert config.EngineConfig().num_threads == usable_processors()


# ---------------------------------------------------------------- malloc


class Malloc:
    """mallopt of a glibc with a limit on the mmap threshold (malloc.c, do_set_mmap_threshold, HEAP_MAX_SIZE / 2)."""

    def __init__(self, limit):
        self.limit = limit
        self.accepted = {}
        self.is_dynamic = True  # the mmap threshold follows what is freed, up to 32 MiB

    def mallopt(self, parameter, value):
        if parameter == cpu_settings.M_MMAP_THRESHOLD and value > self.limit:
            return 0
        self.accepted[parameter] = value
        self.is_dynamic = False
        return 1


@pytest.mark.parametrize(("limit", "threshold"), [(1 << 40, 1 << 30), (32 << 20, 32 << 20), (100 << 20, 64 << 20)])
def test_the_largest_mmap_threshold_that_glibc_accepts(limit, threshold):
    malloc = Malloc(limit)
    assert cpu_settings.keep_freed_memory(malloc.mallopt)
    assert malloc.accepted[cpu_settings.M_MMAP_THRESHOLD] == threshold
    assert malloc.accepted[cpu_settings.M_TRIM_THRESHOLD] >= threshold


def test_where_the_mmap_threshold_is_refused_nothing_else_is_set():
    """Any other setting would freeze the threshold where it is, at 128 KiB."""
    malloc = Malloc(16 << 20)
    assert not cpu_settings.keep_freed_memory(malloc.mallopt)
    assert malloc.is_dynamic and malloc.accepted == {}


FAULTS = """
import os, resource
import ernie_suite
import numpy as np
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(48 << 20, dtype=np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print([faults() for _ in range(4)][1:])
"""


def page_faults(**environment):
    names = ("OMP_NUM_THREADS", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_", "GLIBC_TUNABLES")
    env = {name: value for name, value in os.environ.items() if name not in names}
    command = [sys.executable, "-c", FAULTS]
    done = subprocess.run(command, cwd=ROOT, env={**env, **environment}, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return max(json.loads(done.stdout))


def test_freed_memory_is_kept_unless_the_user_has_set_malloc():
    """12,288 pages of 4 KiB (or 24 of 2 MiB) are asked for again each time where the block is given back."""
    kept = page_faults()
    assert kept < 10
    for setting in ({"MALLOC_MMAP_THRESHOLD_": "131072"}, {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=131072"}):
        assert page_faults(**setting) > kept


# ---------------------------------------------------------------- transposes

STRIDES = """
import ernie_suite, paddle
print(paddle.get_flags("FLAGS_use_stride_kernel")["FLAGS_use_stride_kernel"])
"""


@pytest.mark.parametrize(("given", "used"), [({}, "False"), ({"FLAGS_use_stride_kernel": "1"}, "True")])
def test_paddle_transposes_at_once_unless_the_user_wants_it_otherwise(given, used):
    env = {name: value for name, value in os.environ.items() if name != "FLAGS_use_stride_kernel"}
    command = [sys.executable, "-c", STRIDES]
    done = subprocess.run(command, cwd=ROOT, env={**env, **given}, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [used]


def test_training_is_the_same_with_either_transpose():
    def trained(by_strides):
        paddle.set_flags({"FLAGS_use_stride_kernel": by_strides})
        paddle.seed(1)
        model = ErnieForSequenceClassification(ErnieConfig(**SHAPE))
        optimizer = paddle.optimizer.AdamW(1e-3, parameters=model.parameters())
        for _ in range(3):
            loss = paddle.nn.functional.cross_entropy(model(paddle.randint(5, 50, [4, 9])), paddle.randint(0, 2, [4]))
            loss.backward()
            optimizer.step()
            optimizer.clear_grad()
        return [parameter.numpy() for parameter in model.parameters()]

    before = paddle.get_flags("FLAGS_use_stride_kernel")
    try:
        for at_once, by_strides in zip(trained(False), trained(True)):
            np.testing.assert_allclose(at_once, by_strides, rtol=1e-5, atol=1e-7)
    finally:
        paddle.set_flags(before)
