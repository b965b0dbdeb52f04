"""speed.py: which rows there are, and both tables, of a tiny model."""

import json
import sys
from argparse import Namespace

import pytest

from benchmarks import speed
from ernie_inference.engines import availability
from ernie_inference.engines.availability import supports_bf16
from ernie_inference.engines.backends import BACKENDS
from ernie_inference.errors import InputError

SIZE = ("--layers", "1", "--hidden_size", "24", "--batch_size", "2", "--repeats", "2", "--num_threads", "1")
QUANTIZED, PLAIN = ("int8", "pruned+int8"), ("fp32", "pruned")
# The engine as a row names it: the models that it runs.
RUNS = {
    "Paddle Inference, oneDNN, FP32": PLAIN,
    "Paddle Inference, oneDNN, INT8 (fc)": QUANTIZED,
    "ONNX Runtime, CPU, FP32": PLAIN,
    "ONNX Runtime, CPU, INT8 (dynamic)": PLAIN,
    "ONNX Runtime, CPU, INT8 (QDQ)": QUANTIZED,
    "OpenVINO, CPU, FP32": PLAIN,
    "OpenVINO, CPU, INT8 (QDQ)": QUANTIZED,
}
BF16 = {"paddle": "Paddle Inference, oneDNN, bf16", "openvino": "OpenVINO, CPU, bf16"}


def run_speed(monkeypatch, *flags):
    """The command, in this process: it needs no rest where nothing is compared."""
    monkeypatch.setattr(speed, "REST_SECONDS", 0)
    monkeypatch.setattr(sys, "argv", ["speed.py", *map(str, flags)])
    speed.main()


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """speed.json of a tiny model with all defaults that say which rows there are, and the folder that it is in."""
    folder = tmp_path_factory.mktemp("speed")
    lengths = ("--lengths", "4,8", "--latency_lengths", "3,6", "--latency_repeats", "2")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(speed, "nncf_is_installed", lambda: False)
        run_speed(monkeypatch, *SIZE, *lengths, "--output_dir", folder)
    return json.loads((folder / "speed.json").read_text()), folder


def expected_rows(lengths):
    runs = {**RUNS, **{name: PLAIN for engine, name in BF16.items() if supports_bf16(BACKENDS[engine])}}
    return {
        (length, model, f"{name}, 1 thread") for length in lengths for name, models in runs.items() for model in models
    }


def rows_in(rows):
    return [(row["length"], row["model"], row["engine"]) for row in rows]


def test_there_is_a_row_for_every_engine_and_each_int8(measured):
    content, folder = measured
    found = rows_in(content["rows"])
    assert set(found) == expected_rows((4, 8)) and len(found) == len(set(found))
    assert all(row["texts_per_second"]["median"] > 0 for row in content["rows"])
    firsts = [row for row in content["rows"] if row["ratio"]["low"] == row["ratio"]["high"] == 1]
    assert rows_in(firsts) == [(length, "fp32", "Paddle Inference, oneDNN, FP32, 1 thread") for length in (4, 8)]
    assert (folder / "speed.png").read_bytes().startswith(b"\x89PNG")


def test_single_texts_have_a_table_of_their_own(measured):
    latency = measured[0]["latency"]
    assert latency["runs"] == 2 * speed.RUNS_OF_A_TURN
    assert set(rows_in(latency["rows"])) == expected_rows((3, 6)) and len(latency["rows"]) == len(measured[0]["rows"])
    for row in latency["rows"]:
        assert 0 < row["milliseconds"]["p50"] <= row["milliseconds"]["p99"]
    shown = speed.shown_latency(latency["rows"][0])
    assert list(shown) == ["tokens", "model", "engine", "p50 ms", "p99 ms"] and shown["tokens"] == "3"


def test_latencies_are_milliseconds_of_all_runs():
    """The turns that warm up do not count, nor does the first run of a turn."""
    engine = Engine(seconds=iter([9.0] * 11 * 2 + [0.0] + [0.001] * 10 + [0.0] + [0.003] * 10))
    rows = [speed.Row("m", engine, 4)]
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(speed, "REST_SECONDS", 0)
        monkeypatch.setattr(speed.time, "perf_counter", engine.clock)
        seconds = speed.measure(rows, 1, 2, runs=10)
    assert sorted(seconds[:, 0]) == pytest.approx([0.001] * 10 + [0.003] * 10)
    milliseconds = speed.summarize_latencies(rows, speed.np.arange(1, 201)[:, None] / 1000)[0]["milliseconds"]
    assert milliseconds == {"p50": pytest.approx(100.5), "p99": pytest.approx(198.01)}


class Engine:
    """An engine whose runs take as long as it was told; its clock stands still between them."""

    info = Namespace(vocab_size=None)
    config = Namespace(backend="none", precision="fp32")

    def __init__(self, seconds):
        self.seconds, self.now = seconds, 0.0

    def run(self, input_ids, token_type_ids):
        self.now += next(self.seconds)

    def clock(self):
        return self.now

    def describe(self):
        return "none"


@pytest.fixture(scope="module")
def arguments():
    return Namespace(device="cpu", num_threads=1, batch_size=2)


@pytest.mark.parametrize(
    ("backend", "of_plain", "of_quantized"),
    [
        ("paddle", {"fp32"}, {"int8"}),
        ("onnxruntime", {"fp32", "int8"}, {"int8"}),
        ("openvino", {"fp32"}, {"int8"}),
        ("tensorrt", set(), set()),
    ],
)
def test_which_model_runs_how(tiny, arguments, backend, of_plain, of_quantized):
    for prefix, expected in ((tiny["seq_cls"], of_plain), (tiny.int8("seq_cls"), of_quantized)):
        found = {
            precision
            for precision in ("fp32", "fp16", "int8")
            if speed.wanted_config(backend, precision, prefix, arguments, 8) is not None
        }
        assert found == expected


def test_an_engine_that_is_not_installed_is_not_asked_by_itself(monkeypatch):
    monkeypatch.setattr(speed, "is_installed", lambda backend: backend.module != "openvino")
    monkeypatch.setattr(sys, "argv", ["speed.py"])
    assert speed.parse_arguments().engines == "paddle,onnxruntime"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--latency_lengths", "16,x"], "--latency_lengths 16,x are not numbers of tokens"),
        (["--lengths", "1"], "--lengths 1 are not numbers of tokens from 2 on"),
        (["--hidden_size", "100"], "--hidden_size 100 is no multiple of 12"),
    ],
)
def test_what_is_wrong_is_said_before_any_work(monkeypatch, flags, message):
    monkeypatch.setattr(sys, "argv", ["speed.py", *flags])
    with pytest.raises(InputError, match=message):
        speed.parse_arguments()


@pytest.mark.parametrize("engine", BACKENDS)
def test_an_engine_that_is_not_here_is_refused_without_a_flag_of_other_commands(tiny, arguments, monkeypatch, engine):
    """speed.py has no --use_openvino to leave out."""
    monkeypatch.setattr(availability, "is_installed", lambda backend: False)
    (device,) = list(BACKENDS[engine].precisions)[:1]
    arguments = Namespace(**{**vars(arguments), "device": device})
    with pytest.raises(InputError, match=f"is not installed: install {BACKENDS[engine].package}, or ") as refusal:
        speed.wanted_config(engine, "fp32", tiny["seq_cls"], arguments, 8)
    assert "--" not in str(refusal.value)


def test_without_nncf_its_row_is_left_out_with_a_note(tiny, arguments, monkeypatch, capsys):
    monkeypatch.setattr(speed, "nncf_is_installed", lambda: False)
    arguments = Namespace(**vars(arguments), precisions="fp32,int8", lengths=[8], nncf=True)
    assert speed.add_nncf([], arguments) == []
    assert capsys.readouterr().err == "note: no row with NNCF's INT8: nncf is not installed (pip install nncf)\n"
    arguments.nncf = False
    assert speed.add_nncf([], arguments) == [] and capsys.readouterr().err == ""


def test_nncf_has_a_row_for_each_fp32_model(tiny, arguments):
    pytest.importorskip("nncf")
    arguments = Namespace(
        **vars(arguments), engines="openvino", precisions="fp32,int8", lengths=[8], latency_lengths=[], nncf=False
    )
    engines = speed.load_engines({"fp32": tiny["seq_cls"], "int8": tiny.int8("seq_cls")}, arguments)
    (added,) = speed.add_nncf(engines, arguments)[len(engines) :]
    assert added[0] == "fp32" and added[1].describe() == "OpenVINO, CPU, INT8 (NNCF), 1 thread"
    ids = speed.random_ids([added[1]], 2, 6)[0]
    plain = engines[0][1].run(ids, ids * 0)[0]
    assert plain.shape == added[1].run(ids, ids * 0)[0].shape and (plain != added[1].run(ids, ids * 0)[0]).any()


def test_what_random_models_are_pruned_to():
    shares = {"0.75": (0.75, 1), "0.75x0.5": (0.75, 0.5), "0.5x0.33": (0.5, pytest.approx(1 / 3))}
    assert speed.parse_shares("3/4,3/4x1/2,0.5x1/3") == shares
    with pytest.raises(InputError, match="depth 2 is not above 0 and up to 1"):
        speed.parse_shares("3/4x2")
