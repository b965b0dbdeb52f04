"""Which engine runs: as flags say, or the fastest whose answers agree."""

import shutil
from argparse import Namespace

import pytest

from ernie_inference import engine_choice
from ernie_inference.console import Parser
from ernie_inference.engine_choice import (
    AUTO,
    add_engine_flags,
    engine_of,
    load_fastest,
    load_with,
    probe_inputs,
    time_engines,
)
from ernie_inference.engines.onnx_files import export_onnx
from ernie_inference.errors import InputError
from tests.support.models import MAX_SEQ_LENGTH, TASK_NAMES


def flags(*argv, model_path="model"):
    parser = Parser()
    add_engine_flags(parser)
    return Namespace(model_path=model_path, **vars(parser.parse_args(argv)))


@pytest.mark.parametrize(
    ("argv", "engine"),
    [
        ((), "paddle"), (("--engine", "auto"), AUTO), (("--use_openvino",), "openvino"),
        (("--use_onnxruntime",), "onnxruntime"), (("--engine", "openvino", "--use_openvino"), "openvino"),
    ],
)  # fmt: skip
def test_the_flags_name_one_engine(argv, engine):
    assert engine_of(flags(*argv)) == engine


def test_an_onnx_file_is_for_onnx_runtime_unless_flags_say_otherwise():
    assert engine_of(flags(model_path="x.onnx")) == "onnxruntime"
    assert engine_of(flags("--use_openvino", model_path="x.onnx")) == "openvino"


def test_two_engines_are_refused():
    with pytest.raises(InputError, match="--engine paddle and --use_openvino: give one of them"):
        engine_of(flags("--engine", "paddle", "--use_openvino"))
    with pytest.raises(InputError, match="--use_trt: openvino has no TensorRT"):
        load_with("openvino", "model", use_trt=True)


@pytest.mark.parametrize("task", TASK_NAMES)
def test_probe_inputs_go_from_short_to_a_whole_window(tiny, task):
    from ernie_inference.inference_config import load_task

    task = load_task(tiny[task].parent)
    windows = [task.windows(task.as_example(given, "probe")) for given in probe_inputs(task)]
    lengths = [max(len(window.input_ids) for window in of_one) for of_one in windows]
    assert len(lengths) == engine_choice.PROBE_TEXTS
    assert min(lengths) <= MAX_SEQ_LENGTH // 2 and max(lengths) >= MAX_SEQ_LENGTH - 2


def test_a_question_of_many_choices_takes_no_longer_to_probe(tiny, monkeypatch):
    timed = []
    monkeypatch.setattr(engine_choice, "time_engines", lambda found, windows: timed.append(windows) or {"paddle": 1.0})
    monkeypatch.setattr(engine_choice, "ENGINES", ("paddle",))
    load_fastest(tiny["multiple_choice"])
    assert len(timed[0]) == engine_choice.PROBE_TEXTS


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_auto_takes_the_fastest(tiny, monkeypatch, capsys, precision):
    model = tiny["seq_cls"] if precision == "fp32" else tiny.int8("seq_cls")
    speeds = {"paddle": 1.0, "onnxruntime": 2.0, "openvino": 3.0}
    timed = []

    def pretend(predictors, windows):
        timed.append(sorted(predictors))
        return {engine: speeds[engine] for engine in predictors}

    monkeypatch.setattr(engine_choice, "time_engines", pretend)
    for _ in range(3):
        best = max(speeds, key=speeds.get)
        assert load_fastest(model, precision=precision).engine.config.backend == best
        speeds[best] = 0.0
    assert timed == [["onnxruntime", "openvino", "paddle"]] * 3
    assert "note: --engine auto: paddle" in capsys.readouterr().err


def test_an_engine_with_other_answers_is_left_out(tiny, monkeypatch, capsys):
    def other_answers(engine, model_path, use_trt=False, **options):
        predictor = load_with(engine, model_path, use_trt, **options)
        if engine == "openvino":
            run = predictor.engine.run
            predictor.engine.run = lambda *batch: tuple(-logits for logits in run(*batch))
        return predictor

    monkeypatch.setattr(engine_choice, "load_with", other_answers)
    monkeypatch.setattr(engine_choice, "time_engines", lambda predictors, windows: dict.fromkeys(predictors, 1.0))
    assert load_fastest(tiny["seq_cls"]).engine.config.backend != "openvino"
    assert "leaves out openvino: only 0% of its answers are those of paddle" in capsys.readouterr().err


def test_the_engines_are_really_timed(tiny):
    """Each once at least three times, and the answer is a predictor that answers."""
    predictor = load_with(AUTO, tiny["qa"])
    assert predictor.predict([("谁？", "王小明在北京。")])[0]["pos"]


@pytest.mark.parametrize("engine", [AUTO, "onnxruntime", "openvino"])
def test_an_onnx_file_that_is_not_there_is_asked_for_by_its_name(tiny, tmp_path, engine):
    """Also in the folder of a Paddle model, which is not what the name means."""
    shutil.copytree(tiny["seq_cls"].parent, tmp_path / "model", ignore=shutil.ignore_patterns("*.onnx"))
    for folder in (tmp_path, tmp_path / "model"):
        with pytest.raises(InputError, match=rf"^{folder} holds no \.onnx file") as refusal:
            load_with(engine, folder / "name.onnx")
        assert "pdmodel" not in str(refusal.value)


def test_paddle_is_not_asked_for_an_onnx_file(tiny, monkeypatch, capsys):
    file = export_onnx(tiny["seq_cls"])
    monkeypatch.setattr(engine_choice, "time_engines", lambda predictors, windows: dict.fromkeys(predictors, 1.0))
    assert load_fastest(file).engine.config.backend in ("onnxruntime", "openvino")
    assert "paddle" not in capsys.readouterr().err
    line = "model.onnx is named as an ONNX file: give the prefix or the folder of an exported Paddle model"
    with pytest.raises(InputError, match=line):
        load_with("paddle", file)
    monkeypatch.setattr(engine_choice, "is_installed", lambda backend: backend.name == "paddle")
    with pytest.raises(InputError, match="no installed engine runs fp32 on cpu: install one of onnxruntime, openvino"):
        load_fastest(file)


def test_a_small_model_is_not_timed_for_long(monkeypatch):
    """Most of a round of it is rest."""

    class Fast:
        runs = 0

        def run_windows(self, windows):
            self.runs += 1

    rests = []
    monkeypatch.setattr(engine_choice.time, "sleep", rests.append)
    predictors = {"a": Fast(), "b": Fast()}
    assert set(time_engines(predictors, ["window"], seconds=60)) == {"a", "b"}
    assert [predictor.runs for predictor in predictors.values()] == [1 + engine_choice.MOST_ROUNDS] * 2
    assert sum(rests) <= 5


def test_where_none_can_the_first_says_why(tiny):
    with pytest.raises(InputError, match="is not quantized, so it cannot run as INT8"):
        load_fastest(tiny["seq_cls"], precision="int8", max_seq_length=10_000)
