"""What is measured in a process of its own. How long anything takes here is not asserted."""

import os
import signal

from ernie_suite.compression.fresh_process import FreshProcess, measure_memory
from ernie_suite.compression.pipeline import export

import numpy as np
import pytest

from ernie_inference.errors import InputError
from tests.support.trainers import tiny_trainer


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("measured")
    trainer = tiny_trainer(folder / "state", examples=16)
    export(trainer, trainer.model, folder / "model")
    return folder / "model", "fp32"


def batch(rows, tokens):
    return np.ones((rows, tokens), dtype=np.int64), np.zeros((rows, tokens), dtype=np.int64)


def test_a_round_has_the_seconds_of_each_model_for_each_batch(model):
    with FreshProcess() as process:
        found = np.array(list(process.rounds([model, model, model], [batch(2, 15), batch(1, 31)], least=4, most=9)))
        assert found.shape == (4, 3, 2) and found.min() > 0
        assert len(list(process.rounds([model], [batch(2, 15)], least=1, most=3, seconds=1000))) == 3


def test_only_the_least_time_of_each_batch_counts(model, monkeypatch):
    """Whatever a round lost to other programs, in one batch or in all."""
    of_rounds = [[[1.0, 9.0], [0.5, 2.0]], [[5.0, 3.0], [0.75, 1.0]], [[7.0, 7.0], [7.0, 7.0]]]
    with FreshProcess() as process:
        monkeypatch.setattr(process, "rounds", lambda *_: iter(of_rounds))
        assert process.least_seconds([model, model], [], "speed") == [4.0, 1.5]


def test_it_is_another_process_and_ends_with_the_block(model):
    with FreshProcess() as process:
        assert process._process is None, "none is started for nothing"
        process.memory(model)
        number = process._process.pid
        assert number != os.getpid()
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)


def test_nothing_of_the_current_folder_is_run(model, tmp_path, monkeypatch):
    """There may lie what somebody else made: data, a downloaded model."""
    for name in ("json.py", "numpy.py", "ernie_inference.py"):
        (tmp_path / name).write_text("raise SystemExit('run')", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with FreshProcess() as process:
        assert process.memory(model) > 0


def test_what_cannot_be_measured_has_its_reason_and_the_process_goes_on(model, tmp_path):
    with FreshProcess() as process:
        with pytest.raises(InputError, match=r"model cannot be measured: .* is not quantized, so it cannot"):
            list(process.rounds([(model[0], "int8")], [batch(1, 15)], least=1, most=1))
        assert 100 << 20 < process.memory(model) < 4 << 30
    with pytest.raises(InputError, match=r"holds no \.pdmodel file"):
        measure_memory(tmp_path / "nothing", "fp32")


def test_a_process_that_was_killed_is_told_in_one_line(model):
    with FreshProcess() as process:
        rounds = process.rounds([model], [batch(1, 15)], least=10**6, most=10**6)
        next(rounds)
        os.kill(process._process.pid, signal.SIGKILL)
        with pytest.raises(InputError, match=r"that measures models has ended \(signal 9\): is there enough mem") as e:
            list(rounds)
        assert "\n" not in str(e.value)
        assert process.memory(model) > 0, "another one is started"


def test_answers_that_nobody_waited_for_are_not_those_to_the_next_request(model):
    with FreshProcess() as process:
        rounds = process.rounds([model], [batch(1, 15)], least=100, most=100)
        next(rounds)
        rounds.close()
        assert process.memory(model) > 100 << 20
