"""The predictor and its Paddle engines: answers do not depend on batching, and what is wrong is one clear line."""

import itertools
import math
import os
import random
import subprocess
import sys
import threading

import numpy as np
import paddle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ernie_inference.engines import load_engine
from ernie_inference.engines.availability import supports_bf16
from ernie_inference.engines.config import EngineConfig
from ernie_inference.engines.paddle_engine import distinct_length
from ernie_inference.errors import InputError
from ernie_inference.inference_config import load_task
from ernie_inference.model_files import find_model
from ernie_inference.predictor import ErniePredictor, batch_ends, load_onnx_predictor, load_predictor, pad
from ernie_inference.tasks.base import Window
from infer import answer_in_order, strip_scores
from tests.support.models import ANY_TEXT, MAX_POSITIONS, MAX_SEQ_LENGTH, TASK_NAMES, corpus, example_inputs
from tests.support.scripts import ROOT

TEXTS = corpus()[::300]
ODD_TEXTS = [
    "",
    "   ",
    "\u3000\t",
    "👩‍👩‍👧😀",
    "ＦＵＬＬ　ｗｉｄｔｈ１２３",
    "\x00\x07\x1b",
    "\ud800a\udc00",
    "a" * 300,
    "é" * 120,
    "北京" * 50_000,
]


@pytest.fixture(scope="module")
def predictors(tiny):
    return {task: load_predictor(tiny[task], num_threads=1) for task in TASK_NAMES}


def logits_of(predictor, inputs):
    """The logits of every window of every input."""
    windows = [
        window
        for given_input in inputs
        for window in predictor.task.windows(predictor.task.as_example(given_input, ""))
    ]
    return predictor.run_windows(windows), windows


@pytest.mark.parametrize("task", TASK_NAMES)
def test_dygraph_and_paddle_inference_agree_on_1000_texts(tiny, predictors, task):
    inputs = example_inputs(task, corpus()[::54][:1000])
    assert len(inputs) == 1000
    outputs, windows = logits_of(predictors[task], inputs)
    model = tiny.dygraph[task]
    for begin in range(0, len(windows), 64):
        batch = windows[begin : begin + 64]
        with paddle.no_grad():
            reference = model(*map(paddle.to_tensor, predictors[task].pad(batch)))
        reference = reference if isinstance(reference, tuple) else (reference,)
        for row, window in enumerate(batch):
            for ours, theirs in zip(outputs[begin + row], reference):
                length = len(window.input_ids) if task != "seq_cls" else None
                np.testing.assert_allclose(ours[:length], theirs[row].numpy()[:length], atol=1e-4, rtol=0)


@pytest.mark.parametrize("task", TASK_NAMES)
def test_answers_do_not_depend_on_batches_or_order(predictors, task):
    inputs = example_inputs(task, TEXTS + ["", "北京"])
    answers = predictors[task].predict(inputs)
    assert len(answers) == len(inputs)
    for batch_size in (1, 7):
        again = predictors[task].predict(inputs, batch_size)
        assert [strip_scores(a) for a in again] == [strip_scores(a) for a in answers]
    reversed_answers = predictors[task].predict(inputs[::-1])[::-1]
    assert [strip_scores(a) for a in reversed_answers] == [strip_scores(a) for a in answers]
    assert len({str(answer) for answer in answers}) > 20, "the tiny model must tell texts apart"


def test_a_batch_is_padded_on_the_right():
    window = [Window([1, 7, 2], [0, 0, 0], 1, 0, [0], [1]), Window([1, 7, 2, 8, 2], [0, 0, 0, 1, 1], 3, 0, [0], [1])]
    input_ids, token_type_ids = pad(window, pad_id=9, length=5)
    assert input_ids.tolist() == [[1, 7, 2, 9, 9], [1, 7, 2, 8, 2]] and input_ids.dtype == np.int64
    assert token_type_ids.tolist() == [[0, 0, 0, 0, 0], [0, 0, 0, 1, 1]] and token_type_ids.dtype == np.int64


def test_the_seeds_method_gives_the_same_answers(predictors):
    examples = [{"text": text} for text in TEXTS]
    ours, seeds = predictors["seq_cls"].predict(examples), answer_in_order(predictors["seq_cls"], examples, 32)
    assert [strip_scores(a) for a in ours] == [strip_scores(a) for a in seeds]


@pytest.mark.parametrize("task", TASK_NAMES)
def test_odd_texts_get_an_answer(predictors, task):
    inputs = example_inputs(task, ODD_TEXTS)
    answers = predictors[task].predict(inputs)
    assert len(answers) == len(ODD_TEXTS)
    for text, answer in zip(ODD_TEXTS, answers):
        check_positions(task, text, answer)


@settings(max_examples=150, deadline=None)
@given(st.lists(ANY_TEXT, min_size=1, max_size=4))
def test_generated_texts_get_an_answer_at_its_place(predictors, texts):
    for task in TASK_NAMES:
        for text, answer in zip(texts, predictors[task].predict(example_inputs(task, texts))):
            check_positions(task, text, answer)


def check_positions(task, text, answer):
    if task == "seq_cls":
        assert answer["label"] in ("negative", "positive") and 0 <= answer["confidence"] <= 1
    elif task == "qa":
        if answer["pos"] is None:
            assert answer["answer"] == ""
        else:
            start, end = answer["pos"]
            assert text[start : end + 1] == answer["answer"] != ""
    else:
        last = -1
        for entity in answer["entities"]:
            start, end = entity["pos"]
            assert last < start <= end < len(text)
            assert text[start : end + 1] == entity["entity"]
            last = end


def test_forms_of_input_mean_the_same(predictors):
    seq_cls, token_cls, qa = (predictors[task] for task in TASK_NAMES)
    assert seq_cls.predict(["好", {"text": "好"}, {"text": "好", "text_pair": None}])[1:] == seq_cls.predict(["好"]) * 2
    assert seq_cls.predict([("好", "坏")]) == seq_cls.predict([{"text": "好", "text_pair": "坏"}])
    assert token_cls.predict([list("在北京")]) == token_cls.predict([{"tokens": ["在", "北", "京"]}])
    assert qa.predict([("谁？", "李明")]) == qa.predict([{"question": "谁？", "context": "李明"}])
    assert seq_cls.predict([]) == []


def as_list(predictor, *arguments):
    return list(predictor.predict_iter(*arguments))


@pytest.mark.parametrize("ask", [ErniePredictor.predict, as_list])
def test_one_text_is_one_input(predictors, ask):
    """A str is not taken apart into its characters, nor a dict into its keys."""
    seq_cls, token_cls, qa = (predictors[task] for task in TASK_NAMES)
    for predictor in (seq_cls, token_cls):
        for one in ("在北京", {"text": "在北京"}):
            assert ask(predictor, one) == predictor.predict(["在北京"])
    assert ask(token_cls, {"tokens": ["在", "北京"]}) == token_cls.predict([["在", "北京"]])
    one = {"question": "谁？", "context": "李明"}
    assert ask(qa, one) == qa.predict([one])
    # A list or a tuple is several inputs, whatever the task.
    assert ask(seq_cls, ("好", "坏")) == seq_cls.predict(["好", "坏"])
    assert ask(token_cls, ["在", "北京"]) == token_cls.predict([{"text": "在"}, {"text": "北京"}])
    for several in (("谁？", "李明"), "谁？"):
        with pytest.raises(InputError, match="input 1 is not a pair .*a single pair is given in a list"):
            ask(qa, several)
    assert ask(seq_cls, (text for text in ["好", "坏"])) == seq_cls.predict(["好", "坏"])


@pytest.mark.parametrize("ask", [ErniePredictor.predict, as_list])
@pytest.mark.parametrize("wrong", ["一段文字".encode(), bytearray(b"a"), None, 5])
def test_what_is_no_inputs_is_refused_in_one_line(predictors, ask, wrong):
    for predictor in predictors.values():
        with pytest.raises(InputError, match=r"^the inputs are of the type \w+: give a text, or a list of inputs$"):
            ask(predictor, wrong)


@pytest.mark.parametrize("task", TASK_NAMES)
def test_weights_that_are_no_numbers_give_no_answer(tiny, tmp_path, task):
    """As a diverged training leaves them; neither the Paddle engine nor ONNX Runtime says so itself."""
    for name in ("model.pdmodel", "inference.json", "vocab.txt"):
        (tmp_path / name).write_bytes((tiny[task].parent / name).read_bytes())
    content = tiny[task].with_name("model.pdiparams").read_bytes()
    weights = np.frombuffer(content, dtype=np.uint8).copy()
    weights[-4:] = np.frombuffer(np.float32("nan").tobytes(), dtype=np.uint8)  # of the last parameter
    (tmp_path / "model.pdiparams").write_bytes(weights.tobytes())
    for load in (load_predictor, load_onnx_predictor):
        predictor = load(tmp_path / "model", num_threads=1)
        with pytest.raises(InputError, match="^the model computed NaN or infinite logits: "):
            predictor.predict(example_inputs(task, ["在北京", "好"]))


def test_batches_are_of_the_engines_size_by_default(tiny):
    predictor = load_predictor(tiny["seq_cls"], num_threads=1, batch_size=3)
    rows = []
    run = predictor.engine.run
    predictor.engine.run = lambda ids, types: rows.append(len(ids)) or run(ids, types)
    predictor.predict(["好"] * 7)
    predictor.predict(["好"] * 7, batch_size=7)
    assert rows == [3, 3, 1, 7]


@pytest.mark.parametrize(
    ("task", "wrong"),
    [
        ("seq_cls", 1), ("seq_cls", ["a", "b", "c"]), ("seq_cls", {"text": 1}),
        ("seq_cls", {"text": "a", "text_pair": 2}), ("seq_cls", None),
        ("token_cls", {"tokens": ["a", 1]}), ("token_cls", {}), ("token_cls", [1]),
        ("qa", "text only"), ("qa", {"question": "a"}), ("qa", ["a", None]),
    ],
)  # fmt: skip
def test_a_wrong_input_is_named(predictors, task, wrong):
    right = example_inputs(task, ["好"])[0]
    with pytest.raises(InputError, match="^input 2 is not") as refusal:
        predictors[task].predict([right, wrong])
    assert "\n" not in str(refusal.value)
    with pytest.raises(InputError, match="batch_size is 0"):
        predictors[task].predict([right], batch_size=0)


def test_a_stream_is_read_only_a_little_ahead(predictors):
    predictor, taken = predictors["seq_cls"], itertools.count()
    group = 4 * predictor.batches_ahead
    many = (f"第{next(taken)}句" for _ in range(20 * group))
    answers = predictor.predict_iter(many, batch_size=4)
    for _ in range(group + 1):
        next(answers)
    answers.close()
    assert group < next(taken) <= 3 * group + 2


def test_windows_of_a_long_text_do_not_pile_up(predictors):
    """One text of many windows must not bring a whole group of such texts into memory at once."""
    predictor, taken = predictors["token_cls"], itertools.count()
    texts = (f"{next(taken)}" + "北京" * 20_000 for _ in range(10))
    next(predictor.predict_iter(texts, batch_size=4))
    assert next(taken) <= 4


def test_a_batch_ends_where_its_padding_costs_more_than_another_run():
    assert batch_ends([9, 9, 9, 8, 2, 2], batch_size=32, run_overhead=7) == [4, 6]
    assert batch_ends([9] * 7, batch_size=32, run_overhead=7) == [6, 7] and batch_ends([9] * 7, 7, 7) == [7]
    assert batch_ends([9, 9, 9, 8, 2, 2], batch_size=32, run_overhead=math.inf) == [6]
    assert batch_ends([9, 9, 9, 8, 2, 2], batch_size=2, run_overhead=math.inf) == [2, 4, 6]
    assert batch_ends([5], batch_size=1, run_overhead=0) == [1] and batch_ends([], 4, 0) == []


@given(st.lists(st.integers(2, 512)), st.integers(1, 9), st.integers(0, 200))
def test_every_window_is_in_one_batch(lengths, batch_size, run_overhead):
    lengths.sort(reverse=True)
    ends = batch_ends(lengths, batch_size, run_overhead)
    batches = [lengths[begin:end] for begin, end in zip([0, *ends], ends)]
    assert sum(batches, []) == lengths and all(0 < len(batch) <= batch_size for batch in batches)
    assert all(len(batch) * batch[0] - sum(batch) <= run_overhead for batch in batches)
    assert {len(batch) for batch in batches} <= {1, 2, 3, 4, 6, 8, batch_size}


def test_a_predictor_is_shared_by_threads(predictors):
    predictor = predictors["token_cls"]
    expected = predictor.predict(TEXTS)
    answers, engines = {}, []

    def work(number):
        answers[number] = [predictor.predict(TEXTS, batch_size=5) for _ in range(2)]
        engines.append(predictor.engine)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, engines))) == 4
    for of_thread in answers.values():
        for again in of_thread:
            assert [strip_scores(a) for a in again] == [strip_scores(a) for a in expected]


# ---------------------------------------------------------------- precision


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
        assert [strip_scores(a) for a in answers] == [strip_scores(answers[0])] * rows


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
    if not supports_bf16():
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


# ---------------------------------------------------------------- files


def test_a_model_is_found_by_prefix_folder_or_beginning(tmp_path):
    for name in ("float32", "int8", "int8_mse"):
        (tmp_path / f"{name}.pdmodel").touch()
    for given_path, found in (("float32", "float32"), ("float", "float32"), ("int8", "int8"), ("int8.pdmodel", "int8")):
        assert find_model(tmp_path / given_path) == tmp_path / found
    assert find_model(tmp_path / "float32.pdiparams") == tmp_path / "float32"
    with pytest.raises(InputError, match="can mean float32, int8, int8_mse"):
        find_model(tmp_path)
    with pytest.raises(InputError, match="can mean int8, int8_mse"):
        find_model(tmp_path / "int")
    with pytest.raises(InputError, match=r"fp16.pdmodel is missing; .* holds float32.pdmodel"):
        find_model(tmp_path / "fp16")
    with pytest.raises(InputError, match="holds no .pdmodel file"):
        find_model(tmp_path / "nowhere" / "model")
    for name in ("ner.onnx", "ner.int8.onnx", "ner.fp16.onnx"):
        (tmp_path / name).touch()
    assert find_model(tmp_path, ".onnx") == tmp_path / "ner"


@pytest.fixture
def broken(tiny, tmp_path):
    """A copy of a good model, to be broken."""
    for file in tiny["seq_cls"].parent.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def damage(path, kind):
    content = path.read_bytes()
    if kind == "missing":
        path.unlink()
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "half":
        path.write_bytes(content[: len(content) // 2])
    elif kind == "last byte":
        path.write_bytes(content[:-1])
    elif kind == "text":
        path.write_bytes("这不是模型\n".encode())
    elif kind == "zeros":
        path.write_bytes(bytes(len(content)))
    elif kind == "longer":
        path.write_bytes(content + b"more")
    else:
        other = path.with_suffix(".pdmodel" if path.suffix == ".pdiparams" else ".pdiparams")
        path.write_bytes(other.read_bytes())


@pytest.mark.parametrize("kind", ["missing", "empty", "half", "text", "zeros", "other"])
@pytest.mark.parametrize("name", ["model.pdmodel", "model.pdiparams"])
def test_a_broken_model_file_is_one_clear_line(broken, name, kind, capfd):
    damage(broken / name, kind)
    with pytest.raises(InputError) as refusal:
        load_predictor(broken / "model")
    message = str(refusal.value)
    assert "\n" not in message and "C++" not in message and (name in message or kind == "missing")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("kind", ["last byte", "longer"])
def test_parameters_of_the_wrong_length_are_refused(broken, kind):
    damage(broken / "model.pdiparams", kind)
    with pytest.raises(InputError, match="model.pdiparams"):
        load_predictor(broken / "model")


def test_random_damage_never_ends_the_process(broken):
    """In a process of its own, so that a crash in C++ is a failed test and not the end of the tests."""
    code = (
        "import random, sys; sys.path.insert(0, 'deploy/python')\n"
        "from pathlib import Path\n"
        "from ernie_predictor import InputError, load_predictor\n"
        f"folder = Path({str(broken)!r}); random.seed(1)\n"
        "whole = {name: (folder / name).read_bytes() for name in ('model.pdmodel', 'model.pdiparams')}\n"
        "for attempt in range(60):\n"
        "    name = ('model.pdmodel', 'model.pdiparams')[attempt % 2]\n"
        "    (folder / name).write_bytes(whole[name][: random.randrange(len(whole[name]))])\n"
        "    try:\n"
        "        load_predictor(folder / 'model', num_threads=1)\n"
        "        raise SystemExit(f'{name} cut short was loaded')\n"
        "    except InputError as error:\n"
        "        assert '\\n' not in str(error)\n"
        "    (folder / name).write_bytes(whole[name])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:] + done.stdout[-500:]


def test_files_of_another_model_are_refused(broken):
    vocab = (broken / "vocab.txt").read_text(encoding="utf-8")
    (broken / "vocab.txt").write_text(vocab + "one\ntwo\n", encoding="utf-8")
    with pytest.raises(InputError, match="vocab.txt .* tokens, the model .*: not its own file"):
        load_predictor(broken)
    (broken / "vocab.txt").write_text(vocab, encoding="utf-8")
    config = (broken / "inference.json").read_text(encoding="utf-8")
    (broken / "inference.json").write_text(config.replace('"positive"', '"positive", "neutral"'), encoding="utf-8")
    with pytest.raises(InputError, match="inference.json .* names 3 labels, the model has 2"):
        load_predictor(broken)


def test_flags_are_checked_against_the_model(tiny):
    with pytest.raises(
        InputError, match=f"max_seq_length {MAX_POSITIONS + 1}: the model takes at most {MAX_POSITIONS}"
    ):
        load_predictor(tiny["seq_cls"], max_seq_length=MAX_POSITIONS + 1)
    with pytest.raises(InputError, match="is a seq_cls model, not qa"):
        load_predictor(tiny["seq_cls"], task_name="qa")
    assert load_predictor(tiny["seq_cls"]).task.max_seq_length == MAX_SEQ_LENGTH
    assert load_predictor(tiny["seq_cls"], max_seq_length=20).task.max_seq_length == 20


def test_a_program_with_other_inputs_is_refused(broken):
    class Sum(paddle.nn.Layer):
        def forward(self, x):
            return x.sum(-1)

    spec = paddle.static.InputSpec([None, 4], "float32", "x")
    paddle.jit.save(paddle.jit.to_static(Sum(), input_spec=[spec], full_graph=True), str(broken / "model"))
    (broken / "model.pdiparams").write_bytes(b"")
    with pytest.raises(InputError, match="model.pdiparams is empty|has the inputs x, not input_ids"):
        load_predictor(broken / "model")


def test_deploy_needs_no_trainer(tiny, tmp_path):
    """deploy/python runs where paddlenlp, paddleslim, onnx and paddle2onnx are not installed."""
    blocked = ("paddlenlp", "paddleslim", "paddle2onnx", "onnx", "onnxruntime", "fast_tokenizer", "yaml")
    for name in blocked:
        (tmp_path / f"{name}.py").write_text("raise ModuleNotFoundError('blocked')", encoding="utf-8")
    command = [sys.executable, str(ROOT / "deploy/python/infer_cpu.py"), "--model_path", str(tiny["qa"])]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "qa result:" in done.stdout


def test_a_predictor_can_be_put_together_by_hand(tiny):
    predictor = ErniePredictor(load_engine(tiny["qa"], EngineConfig()), load_task(tiny["qa"].parent))
    assert predictor.predict([("谁？", "李明")]) == load_predictor(tiny["qa"]).predict([("谁？", "李明")])
