"""The temperature of inference.json: it scales confidences in every engine, and changes no answer."""

import shutil

import numpy as np
import pytest

from ernie_inference.bulk import answer_file
from ernie_inference.commands import ModelAnswerer
from ernie_inference.engine_choice import without_scores
from ernie_inference.engines.backends import ONNX, OPENVINO, PADDLE
from ernie_inference.errors import InputError
from ernie_inference.files import digest_of
from ernie_inference.inference_config import InferenceConfig, load_task
from ernie_inference.predictor import load_predictor
from ernie_inference.tasks.base import softmax
from ernie_inference.text_output import to_json
from ernie_serving.loading import load
from ernie_serving.model_to_serving import convert
from ernie_serving.service_config import ModelConfig
from tests.support.models import TASK_NAMES, corpus, example_inputs

TEXTS = corpus()[::1500]
TEMPERATURE = 2.5


@pytest.fixture(scope="module")
def calibrated(tiny, tmp_path_factory):
    """A copy of the folder of a tiny model, with a temperature."""
    folders = {}

    def get(task):
        if task not in folders:
            folders[task] = tmp_path_factory.mktemp("calibrated") / task
            shutil.copytree(tiny[task].parent, folders[task])
            config = InferenceConfig.load(folders[task])
            config.temperature = TEMPERATURE
            config.save(folders[task])
        return folders[task]

    return get


def figures_of(answer):
    """All confidences and scores in an answer, without those of its lists of likeliest answers."""
    answers = answer.get("entities", answer.get("blanks", [answer]))
    return [each.get("confidence", each.get("score")) for each in answers]


@pytest.mark.parametrize("task", TASK_NAMES)
@pytest.mark.parametrize("backend", [PADDLE, ONNX, OPENVINO])
def test_confidences_are_scaled_and_answers_stay(predictors, calibrated, task, backend):
    inputs, options = example_inputs(task, TEXTS), {"top_k": 2, "threshold": 0.0}
    plain, scaled = predictors[task], load_predictor(calibrated(task), backend=backend, num_threads=1)
    assert without_scores(plain.predict(inputs)) == without_scores(scaled.predict(inputs))
    wanted = [plain.task.at(TEMPERATURE).decode(*computed, plain.task.answer_options(**options))
              for computed in plain.outputs_iter(inputs)]  # fmt: skip
    found = scaled.predict(inputs, **options)
    for a, b, before in zip(wanted, found, plain.predict(inputs, **options)):
        assert figures_of(b) == pytest.approx(figures_of(a), abs=1e-4)
        assert task == "token_cls" or figures_of(b)[0] < figures_of(before)[0]


def test_the_confidence_of_a_label_is_the_softmax_of_the_scaled_logits(predictors):
    task = predictors["seq_cls"].task
    for example, windows, outputs in predictors["seq_cls"].outputs_iter(TEXTS):
        answer = task.at(TEMPERATURE).decode(example, windows, outputs)
        assert answer["confidence"] == pytest.approx(softmax(outputs[0][0] / TEMPERATURE).max(), rel=1e-6)
        assert task.decode(example, windows, outputs) == task.at(1.0).decode(example, windows, outputs)
    assert task.temperature == 1.0  # of the other ones alone


def test_the_score_of_an_answer_is_the_product_over_all_tokens_at_a_temperature(predictors):
    task = predictors["qa"].task
    question_and_text = ("谁写了这本书？", "《边城》是沈从文的小说")  # one window
    ((example, windows, outputs),) = predictors["qa"].outputs_iter([question_and_text])
    inside = slice(windows[0].offset, windows[0].offset + len(windows[0].starts))
    start, end = (softmax(logits[inside] / TEMPERATURE) for logits in outputs[0])
    answer = task.at(TEMPERATURE).decode(example, windows, outputs)
    first, last = windows[0].starts.index(answer["pos"][0]), windows[0].ends.index(answer["pos"][1] + 1)
    assert answer["score"] == pytest.approx(start[first] * end[last], rel=1e-6)
    assert len(windows) == 1 and np.isfinite(answer["score"])


@pytest.mark.parametrize("task", TASK_NAMES)
def test_a_service_has_the_temperature_of_its_model(calibrated, tmp_path, task):
    served = load(ModelConfig(str(convert(calibrated(task), tmp_path / "serving")), thread_num=1)).predictor
    assert served.task.temperature == TEMPERATURE
    inputs = example_inputs(task, TEXTS[:4])
    wanted = load_predictor(calibrated(task), num_threads=1).predict(inputs, threshold=0.0)
    for a, b in zip(served.predict(inputs, threshold=0.0), wanted):
        assert figures_of(a) == pytest.approx(figures_of(b), abs=1e-4)


def test_a_file_is_not_gone_on_with_at_another_temperature(predictors, calibrated, tmp_path):
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text('"好"\n"坏"\n', encoding="utf-8")
    plain, scaled = predictors["seq_cls"], load_predictor(calibrated("seq_cls"), num_threads=1)
    assert "temperature" not in plain.depends_on() and scaled.depends_on()["temperature"] == TEMPERATURE
    answer_file(ModelAnswerer(plain), source, target)
    target.rename(tmp_path / "out.jsonl.part")
    origin = {"input": digest_of([source]), **plain.depends_on()}
    (tmp_path / "out.jsonl.part.json").write_bytes(to_json(origin))
    with pytest.raises(InputError, match="part was begun with another temperature: remove it to begin again"):
        answer_file(ModelAnswerer(scaled), source, target)


@pytest.mark.parametrize("pooling", ["windows", "windows_max"])
def test_the_label_of_a_text_of_several_windows_stays(predictors, pooling):
    """One window is sure of the first label, two lean to the second one, and scaled by themselves they would win."""
    task = predictors["seq_cls"].task
    options = task.answer_options(top_k=2, long_texts=pooling)
    windows = task.windows({"text": "好" * 100}, options)
    outputs = [(np.array(row, dtype=np.float32),) for row in ([5.0, 0.0], [0.0, 1.0], [0.0, 1.0])]
    plain = task.decode({}, windows, outputs, options)
    for temperature in (0.05, 0.5, 2.0, 20.0):
        scaled = task.at(temperature).decode({}, windows, outputs, options)
        assert scaled["label"] == plain["label"] == scaled["scores"][0]["label"]
        if pooling == "windows":
            assert sum(each["confidence"] for each in scaled["scores"]) == pytest.approx(1)
        else:
            assert scaled["confidence"] == pytest.approx(softmax(np.array([5.0, 0.0]) / temperature)[0])
        assert (scaled["confidence"] < plain["confidence"]) == (temperature > 1)


@pytest.mark.parametrize("temperature", [0, -1, True, "1", [1], 1e999, 1e-310, 1e-4, 1e4, 10**400])
def test_what_is_no_temperature_is_refused(tmp_path, temperature):
    config = InferenceConfig("seq_cls", ["a", "b"])
    config.temperature = temperature
    if temperature != 1e999:
        config.save(tmp_path)
    else:
        (tmp_path / "inference.json").write_text('{"task": "qa", "temperature": 1e999}')
    with pytest.raises(
        InputError, match=r"temperature is .*, not a number from 0.001 to 1000\): export the model again"
    ):
        load_task(tmp_path)
