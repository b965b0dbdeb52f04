"""The commands as a user runs them: example texts answered, and what is wrong in one line."""

import re
import subprocess
import sys

import paddle
import pytest

from tests.support.models import TASK_NAMES
from tests.support.scripts import INFER_CPU, ROOT, infer_cpu, run_here

FORMS = {
    "seq_cls": r"label: (negative|positive)   confidence: 0\.\d{4}",
    "token_cls": r"entity: \S.*   label: (PER|LOC|ORG)   pos: \[\d+, \d+\]",
    "qa": r"answer: .+   score: 0\.\d{4}   pos: \[\d+, \d+\]",
    "multiple_choice": r"answer: (今天|明天)(上午|下午)   confidence: 0\.\d{4}",
}


@pytest.mark.parametrize("task", TASK_NAMES)
def test_example_texts_are_answered_in_the_references_form(tiny, task):
    done = run_here(INFER_CPU, "--task_name", task, "--model_path", tiny[task], "--num_threads", 1)
    assert done.stderr == ""
    assert done.stdout.startswith("Paddle Inference, oneDNN, FP32, 1 thread\ninput data: ")
    assert re.search(FORMS[task], done.stdout)


def test_int8_says_so_and_nothing_else(tiny):
    """In a process of its own, where C++ code might say something too."""
    done = infer_cpu("--model_path", tiny.int8("seq_cls"), "--precision_mode", "int8", "--num_threads", 2)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert done.stdout.startswith("Paddle Inference, oneDNN, INT8 (fc), 2 threads\n")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--task_name", "qa"], "is a seq_cls model, not qa"),
        (["--precision_mode", "int8"], "is not quantized"),
        (["--input_file", "x"], "--input_file and --output_file belong together"),
        (["--input_file", "nowhere.jsonl", "--output_file", "out.jsonl"], "--input_file nowhere.jsonl is missing"),
        (["--precision_mode", "fp16"], "invalid choice: 'fp16' (choose from 'fp32', 'int8', 'bf16'); see --help"),
        (["--max_seq_length", "3"], "max_seq_length 3 leaves no room"),
    ],
)
def test_wrong_flags_are_one_line_and_status_2(tiny, flags, message):
    done = run_here(INFER_CPU, "--model_path", tiny["seq_cls"], *flags, check=False)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: ") and message in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.skipif(paddle.is_compiled_with_cuda(), reason="this machine may have the GPU that is refused here")
def test_infer_gpu_without_a_gpu_is_one_line(tiny):
    command = ["deploy/python/infer_gpu.py", "--model_path", str(tiny["seq_cls"])]
    alone = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, timeout=120)
    others = ("--precision_mode", "int8"), ("--use_trt",), ("--set_dynamic_shape",)
    for done in (alone, *(run_here(*command, *flags, check=False) for flags in others)):
        assert done.returncode == 2 and done.stdout == ""
        assert [line for line in done.stderr.splitlines() if "OMP_NUM_THREADS" not in line] == [
            "error: the installed paddlepaddle is the CPU build: install paddlepaddle-gpu, or use --device cpu"
        ]
