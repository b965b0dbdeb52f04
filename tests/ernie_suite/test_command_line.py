"""Flags and config.yml of the run scripts: what cannot be meant is refused in one line, before anything is loaded."""

from dataclasses import fields

from ernie_suite.command_line import WITHOUT_EFFECT, parse_arguments
from ernie_suite.runs import HARMLESS_ARGUMENTS
from ernie_suite.tasks.seq_cls import SEQ_CLS

import pytest
from paddlenlp.trainer import TrainingArguments

from ernie_inference.errors import InputError


def parse(*argv):
    return parse_arguments(SEQ_CLS, argv=["--task_name", "tnews", "--device", "cpu", *argv])


def refusal(*argv):
    with pytest.raises(InputError) as error:
        parse(*argv)
    assert "\n" not in str(error.value)
    return str(error.value)


NUMBERS = {
    **dict.fromkeys(
        ("per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps", "eval_steps"),
        (0, -1),
    ),
    **dict.fromkeys(
        ("logging_steps", "save_total_limit", "early_stopping_patience", "eval_accumulation_steps"), (0, -1)
    ),
    **dict.fromkeys(("max_seq_length", "max_train_samples", "max_eval_samples"), (0, -1)),
    **dict.fromkeys(("warmup_steps", "dataloader_num_workers", "doc_stride"), (-1,)),
    **dict.fromkeys(("learning_rate", "num_train_epochs", "adam_epsilon"), (0, -1, "nan", "inf")),
    **dict.fromkeys(("weight_decay", "max_grad_norm"), (-0.1, "nan")),
    **dict.fromkeys(("token_dropout", "adam_beta1", "adam_beta2"), (-0.1, 1, "nan")),
    "warmup_ratio": (-0.1, 1.1, "nan"),
    "max_steps": (0, -2),
    "seed": (-1, 2**31),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_that_cannot_be_meant_are_refused(name):
    for value in NUMBERS[name]:
        assert f"--{name} {value}"[:12] in refusal(f"--{name}={value}")


def test_numbers_at_the_edge_of_what_can_be_meant():
    args = parse("--max_steps", "-1", "--warmup_ratio", "1", "--seed", "0", "--token_dropout", "0")[2]
    assert (args.max_steps, args.warmup_ratio, args.seed, args.token_dropout) == (-1, 1.0, 0, 0.0)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--max_seq", "64"], "unknown flag --max_seq (is --max_seq_length meant?)"),
        (["--max_seq=64"], "unknown flag --max_seq (is --max_seq_length meant?)"),
        (["--save_step", "5"], "unknown flag --save_step (is --save_steps meant?)"),
        (["--learning_rat", "1e-5"], "unknown flag --learning_rat (is --learning_rate meant?)"),
        (["--leraning_rate", "1e-5"], "unknown flag --leraning_rate (is --learning_rate meant?)"),
        (["--task", "iflytek"], "unknown flag --task (is --task_name meant?)"),
        (["--no_seed"], "--no_seed"),
        (["--seed", "1", "--seed=2"], "--seed is given twice"),
        (["--dataset", "iflytek"], "--task_name tnews and --dataset iflytek: these are two data sets"),
        (["tnews"], "unknown argument 'tnews'"),
        (["--fp16"], "--fp16 needs a GPU"),
        (["--bf16", "true"], "--bf16 needs a GPU"),
        (["--fp16", "--bf16"], "--fp16 and --bf16: give one of them"),
        (["--fp16_opt_level", "O9"], "--fp16_opt_level O9: choose O1 or O2"),
        (["--lr_scheduler_type", "zigzag"], "zigzag"),
        (["--save_steps=5"], "--save_steps has no effect here"),
        (["--max_evaluate_steps", "3"], "--max_evaluate_steps has no effect here: --max_eval_samples"),
        (["--tensor_parallel_degree", "2"], "--tensor_parallel_degree has no effect here"),
    ],
)
def test_flags_that_would_not_do_what_they_say_are_refused(argv, said):
    assert said in refusal(*argv)


def test_the_same_data_set_in_both_spellings_is_one():
    assert parse("--dataset", "clue tnews")[1].task_name == "tnews"


def test_no_cuda_is_the_cpu():
    argv = ["--task_name", "tnews", "--no_cuda"]
    assert parse_arguments(SEQ_CLS, argv=argv)[2].device == "cpu"
    with pytest.raises(InputError, match="--no_cuda and --device gpu: give one of them"):
        parse_arguments(SEQ_CLS, argv=[*argv, "--device", "gpu"])


def config(tmp_path, content):
    path = tmp_path / "mine.yml"
    path.write_text(content, encoding="utf-8")
    return ["--config", str(path)]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("seed: 1.5", "argument --seed: invalid int value: '1.5'"),
        ("seed: true", "argument --seed: invalid int value: 'True'"),
        ("learning_rate: fast", "argument --learning_rate: invalid float value: 'fast'"),
        ("learning_rate: [1.0e-5, 2.0e-5]", "mine.yml: '2e-05' is one value too many"),
        ("learning_rate: {tnews: 1.0e-5}", "learning_rate: {'tnews': 1e-05} is not a value of this flag"),
        ("do_train: sometimes", "argument --do_train: Truthy value expected"),
        ("save_steps: 5", "save_steps has no effect here"),
        ("task_name: iflytek", "task_name: give it on the command line"),
        ("config: other.yml", "config: give it on the command line"),
        ("max_seq: 64", "max_seq: no such flag"),
        ("gradient_accumulation_steps: 0", "--gradient_accumulation_steps 0: give a number from 1 on"),
    ],
)
def test_values_of_a_config_are_read_as_those_of_flags_are(tmp_path, content, said):
    assert said in refusal(*config(tmp_path, f"DefaultArgs: {{{content}}}"))


def test_a_config_means_what_it_says(tmp_path):
    content = "\ufeffDefaultArgs:\r\n  learning_rate: 3e-5\r\n  max_steps: -1\r\n  report_to: [visualdl]\r\n  seed:\r\n"
    flags = config(tmp_path, content + "  disable_tqdm: true\r\n  weight_decay: 0\r\n")
    args = parse(*flags, "--learning_rate", "4e-5")[2]
    assert (args.learning_rate, args.max_steps, args.report_to, args.disable_tqdm) == (4e-5, -1, ["visualdl"], True)
    assert (args.seed, args.weight_decay) == (42, 0.0)


def test_every_name_in_the_lists_is_an_argument():
    known = {field.name for field in fields(TrainingArguments)}
    assert known >= HARMLESS_ARGUMENTS and set(WITHOUT_EFFECT) <= known
