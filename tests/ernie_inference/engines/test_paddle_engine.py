"""Paddle's engine: which kernels run, that no shape is taken for another, and precisions."""

import os
import random
import subprocess
import sys

import numpy as np
import pytest

from ernie_inference.engine_choice import without_scores
from ernie_inference.engines import load_engine
from ernie_inference.engines.availability import supports_bf16
from ernie_inference.engines.backends import BACKENDS, PADDLE
from ernie_inference.engines.config import EngineConfig
from ernie_inference.engines.paddle_engine import distinct_length
from ernie_inference.errors import InputError
from ernie_inference.predictor import load_predictor
from tests.support.models import MAX_SEQ_LENGTH, corpus, logits_of
from tests.support.scripts import ROOT

TEXTS = corpus()[::300]


def test_int8_is_close_to_fp32(tiny):
    fp32, int8 = load_predictor(tiny["token_cls"]), load_predictor(tiny.int8("token_cls"), precision="int8")
    outputs, _ = logits_of(fp32, TEXTS)
    quantized, _ = logits_of(int8, TEXTS)
    reference = np.concatenate([output[0].ravel() for output in outputs])
    error = np.concatenate([output[0].ravel() for output in quantized]) - reference
    assert 0 < abs(error).mean() < 0.1 * reference.std()


def onednn_log(code):
    """What oneDNN says of each kernel that runs."""
    environment = {**os.environ, "ONEDNN_VERBOSE": "1"}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("attention", [False, True])
def test_products_with_weights_run_in_int8_and_no_others(tiny, attention):
    code = (
        "import sys; sys.path.insert(0, 'deploy/python')\n"
        "from ernie_predictor import load_predictor\n"
        f"load_predictor({str(tiny.int8('seq_cls', attention))!r}, precision='int8', num_threads=1).predict(['北京'])"
    )
    log = onednn_log(code)
    products = [line for line in log.splitlines() if ",exec,cpu,inner_product," in line]
    # Query, key, value, output and two feed-forward layers, twice; the pooler and the classifier.
    assert len(products) == 14 and all("src_s8" in line and "wei_s8" in line for line in products)
    # Two products of activations in each of two layers: oneDNN has only a slow reference kernel for them in INT8.
    others = [line for line in log.splitlines() if ",exec,cpu,matmul," in line]
    assert len(others) == 4 and not any("ref" in line.split(",")[4] or "s8" in line for line in others)


def test_another_length_does_not_reorder_the_weights(tiny):
    """Weights in oneDNN's own layout are made once, not for every shape of the input, in time and in memory."""
    code = (
        "import sys; sys.path.insert(0, 'deploy/python')\n"
        "import numpy as np\n"
        "from ernie_inference.engines import EngineConfig, load_engine\n"
        f"engine = load_engine({str(tiny['seq_cls'])!r}, EngineConfig(num_threads=1))\n"
        "for length in (20, 20, 19):\n"
        "    print('length', flush=True)\n"
        "    ids = np.ones((2, length), dtype=np.int64)\n"
        "    engine.run(ids, ids)\n"
    )
    _, first, second, other = [log.count(",exec,cpu,reorder,") for log in onednn_log(code).split("length\n")]
    assert first > second == other


def test_no_two_shapes_are_written_alike():
    """Rows and tokens one behind the other, which is how Paddle's oneDNN cache tells shapes apart."""
    shapes = {(rows, distinct_length(length)) for rows in range(1, 100) for length in range(2, 2049)}
    assert len({f"{rows}{length}" for rows, length in shapes}) == len(shapes)
    assert all(0 <= distinct_length(length) - length <= 4 for length in range(8, 2049))
    assert len({distinct_length(length) for length in range(2, 513)}) < 512 / 4 + 4


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_shapes_that_paddle_would_take_for_one_another(tiny, precision):
    """1 x 34 tokens after 13 x 4 ended with "could not reshape a memory descriptor"."""
    prefix = tiny["token_cls"] if precision == "fp32" else tiny.int8("token_cls")
    predictor = load_predictor(prefix, precision=precision, num_threads=1)
    for rows, length in ((13, 4), (1, 34), (24, 5), (2, 45), (1, 28), (12, 8)):
        answers = predictor.predict(["好" * (length - 2)] * rows, batch_size=rows)
        assert without_scores(answers) == without_scores(answers[:1]) * rows


def test_many_shapes_in_any_order(tiny):
    """Every batch has the logits that it has in a process that has seen no other shape."""
    predictor, reference = (load_predictor(tiny["seq_cls"], num_threads=1) for _ in range(2))
    windows = [predictor.task.windows({"text": "中" * length})[0] for length in range(MAX_SEQ_LENGTH - 2)]
    expected = [reference.run_windows([window])[0] for window in windows]
    shuffled = random.Random(5)
    for _ in range(300):
        numbers = shuffled.choices(range(len(windows)), k=shuffled.randint(1, 32))
        outputs = predictor.run_windows([windows[i] for i in numbers], sort=False)
        for output, i in zip(outputs, numbers):
            np.testing.assert_allclose(output[0], expected[i][0], atol=1e-4)


def test_bf16_is_close_to_fp32(tiny, predictors):
    if not supports_bf16(BACKENDS[PADDLE]):
        with pytest.raises(InputError, match="no bf16 instructions"):
            EngineConfig(precision="bf16")
        pytest.skip("this processor has no bf16 instructions")
    ids = np.arange(5, 45).reshape(2, 20)
    engine = load_engine(tiny["seq_cls"], EngineConfig(precision="bf16"))
    (bf16,), (fp32,) = (e.run(ids, np.zeros_like(ids)) for e in (engine, predictors["seq_cls"].engine))
    assert 0 < abs(bf16 - fp32).max() < 0.1


def test_a_precision_the_model_does_not_have_is_refused(tiny):
    with pytest.raises(InputError, match="is not quantized, so it cannot run as INT8"):
        load_predictor(tiny["seq_cls"], precision="int8")
    with pytest.raises(InputError, match="is quantized, and fp32 would only imitate INT8"):
        load_predictor(tiny.int8("seq_cls"))


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"num_threads": 1}, "Paddle Inference, oneDNN, FP32, 1 thread"),
        ({"precision": "int8", "num_threads": 2}, "Paddle Inference, oneDNN, INT8 (fc), 2 threads"),
        (
            {"backend": "onnxruntime", "precision": "int8", "num_threads": 1},
            "ONNX Runtime, CPU, INT8 (dynamic), 1 thread",
        ),
    ],
)
def test_the_engine_is_said_in_one_line(options, line):
    assert EngineConfig(**options).describe() == line
