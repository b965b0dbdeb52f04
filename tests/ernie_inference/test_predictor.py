"""The predictor and its Paddle engines: answers do not depend on batching, and what is wrong is one clear line."""

import itertools
import os
import subprocess
import sys
import threading

import numpy as np
import paddle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ernie_inference.engine_choice import without_scores
from ernie_inference.engines import load_engine
from ernie_inference.engines.config import EngineConfig
from ernie_inference.errors import InputError
from ernie_inference.inference_config import load_task
from ernie_inference.predictor import ErniePredictor, load_onnx_predictor, load_predictor
from infer import answer_in_order
from tests.support.models import ANY_TEXT, TASK_NAMES, corpus, example_inputs, logits_of
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


@pytest.mark.parametrize("task", TASK_NAMES)
def test_dygraph_and_paddle_inference_agree_on_300_texts(tiny, predictors, task):
    inputs = example_inputs(task, corpus()[::180][:300])
    assert len(inputs) == 300
    outputs, windows = logits_of(predictors[task], inputs)
    model = tiny.dygraph[task]
    for begin in range(0, len(windows), 64):
        batch = windows[begin : begin + 64]
        with paddle.no_grad():
            reference = model(*map(paddle.to_tensor, predictors[task].pad(batch)))
        reference = reference if isinstance(reference, tuple) else (reference,)
        for row, window in enumerate(batch):
            for ours, theirs in zip(outputs[begin + row], reference):
                length = len(window.input_ids) if task in ("token_cls", "qa") else None
                np.testing.assert_allclose(ours[:length], theirs[row].numpy()[:length], atol=1e-4, rtol=0)


@pytest.mark.parametrize("task", TASK_NAMES)
def test_answers_do_not_depend_on_batches_or_order(predictors, task):
    inputs = example_inputs(task, TEXTS + ["", "北京"])
    answers = predictors[task].predict(inputs)
    assert len(answers) == len(inputs)
    for batch_size in (1, 7):
        again = predictors[task].predict(inputs, batch_size)
        assert without_scores(again) == without_scores(answers)
    reversed_answers = predictors[task].predict(inputs[::-1])[::-1]
    assert without_scores(reversed_answers) == without_scores(answers)
    assert len({str(answer) for answer in answers}) > 20, "the tiny model must tell texts apart"


@pytest.mark.parametrize("task", TASK_NAMES)
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_few_shapes_answer_as_many(tiny, task, precision):
    prefix = tiny[task] if precision == "fp32" else tiny.int8(task)
    many, few = (load_predictor(prefix, precision=precision, num_threads=1, few_shapes=few) for few in (False, True))
    seen, run = set(), few.engine.run

    def seeing(input_ids, token_type_ids):
        seen.add(input_ids.shape)
        return run(input_ids, token_type_ids)

    few.engine.run = seeing
    inputs = example_inputs(task, TEXTS + ["", "北京"])
    for begin, end in ((0, 180), (0, 1), (3, 10), (20, 51)):
        ours, theirs = (predictor.predict(inputs[begin:end]) for predictor in (few, many))
        assert without_scores(ours) == without_scores(theirs)
    (ours, windows), (theirs, _) = (logits_of(predictor, inputs) for predictor in (few, many))
    for window, one, other in zip(windows, ours, theirs):
        for a, b in zip(one, other):
            own = len(window.input_ids) if task in ("token_cls", "qa") else len(a)
            np.testing.assert_allclose(a[:own], b[:own], atol=1e-4)
    assert seen <= set(few.shapes()) and len(list(few.shapes())) < 40 < len(list(many.shapes()))
    seen.clear()
    few.warm_up()
    assert seen == set(few.shapes())


def test_confidence_and_the_likeliest_of_real_models(predictors):
    inputs = {task: example_inputs(task, TEXTS[:40] + ["", "x" * 300]) for task in TASK_NAMES}
    answers = {task: predictors[task].predict(inputs[task]) for task in TASK_NAMES}
    more = {task: predictors[task].predict(inputs[task], top_k=2, threshold=0) for task in TASK_NAMES}
    for plain, answer in zip(answers["seq_cls"], more["seq_cls"]):
        first, second = answer.pop("scores")
        assert answer == plain and first == {name: plain[name] for name in ("label", "confidence")}
        assert first["confidence"] >= second["confidence"] == pytest.approx(1 - first["confidence"])
    for plain, answer in zip(answers["qa"], more["qa"]):
        spans = answer.pop("answers")
        assert answer == plain and spans[:1] == ([plain] if plain["pos"] else [])
        assert [span["score"] for span in spans] == sorted((span["score"] for span in spans), reverse=True)
    for plain, answer in zip(answers["token_cls"], more["token_cls"]):
        assert len(answer["entities"]) == min(2, len(plain["entities"]))
        assert all({n: e[n] for n in ("entity", "label", "pos")} in plain["entities"] for e in answer["entities"])
        assert all(0 < entity["confidence"] <= 1 for entity in answer["entities"])
    assert any(answer["entities"] for answer in more["token_cls"])
    for plain, answer in zip(answers["multiple_choice"], more["multiple_choice"]):
        for found, likeliest in zip(*(each.get("blanks", [each]) for each in (plain, answer))):
            scores = likeliest.pop("scores")
            assert found == likeliest and scores[0] == {k: found[k] for k in ("answer", "choice", "confidence")}
            assert len(scores) == 2 and scores[0]["confidence"] >= scores[1]["confidence"]
    with pytest.raises(InputError, match="top_k is 0"):
        predictors["seq_cls"].predict(["好"], top_k=0)


def test_the_seeds_method_gives_the_same_answers(predictors):
    examples = [{"text": text} for text in TEXTS]
    ours, seeds = predictors["seq_cls"].predict(examples), answer_in_order(predictors["seq_cls"], examples, 32)
    assert without_scores(ours) == without_scores(seeds)


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
    elif task == "multiple_choice":
        for found in answer.get("blanks", [answer]):
            assert found["choice"] in (0, 1, 2) and isinstance(found["answer"], str) and 0 < found["confidence"] <= 1
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
    seq_cls, token_cls, qa, _ = (predictors[task] for task in TASK_NAMES)
    assert seq_cls.predict(["好", {"text": "好"}, {"text": "好", "text_pair": None}])[1:] == seq_cls.predict(["好"]) * 2
    assert seq_cls.predict([("好", "坏")]) == seq_cls.predict([{"text": "好", "text_pair": "坏"}])
    assert token_cls.predict([list("在北京")]) == token_cls.predict([{"tokens": ["在", "北", "京"]}])
    assert qa.predict([("谁？", "李明")]) == qa.predict([{"question": "谁？", "context": "李明"}])
    question = ("在北京", "在哪里？", ["北京", "上海"])
    named = dict(zip(("context", "question", "choices"), question))
    assert predictors["multiple_choice"].predict([question]) == predictors["multiple_choice"].predict(named)
    assert seq_cls.predict([]) == []


def as_list(predictor, *arguments):
    return list(predictor.predict_iter(*arguments))


@pytest.mark.parametrize("ask", [ErniePredictor.predict, as_list])
def test_one_text_is_one_input(predictors, ask):
    """A str is not taken apart into its characters, nor a dict into its keys."""
    seq_cls, token_cls, qa, _ = (predictors[task] for task in TASK_NAMES)
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
        ("multiple_choice", ("a", "b")), ("multiple_choice", ("a", "b", ["c"])), ("multiple_choice", ("a", "b", "cd")),
        ("multiple_choice", {"context": "no blank", "choices": ["a", "b"]}), ("multiple_choice", ("", "", ["a"] * 65)),
        ("multiple_choice", {"context": "#idiom#" * 65, "choices": ["a", "b"]}), ("multiple_choice", {"choices": "ab"}),
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
            assert without_scores(again) == without_scores(expected)


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
