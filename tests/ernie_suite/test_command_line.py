"""Flags and config.yml of the run scripts: what cannot be meant is refused in one line, before anything is loaded."""

from dataclasses import fields

from ernie_suite.arguments import choose_device
from ernie_suite.command_line import WITHOUT_EFFECT, parse_arguments
from ernie_suite.compression.flags import CompressionArguments
from ernie_suite.runs import HARMLESS_ARGUMENTS
from ernie_suite.tasks.qa import QA
from ernie_suite.tasks.seq_cls import SEQ_CLS
from ernie_suite.tasks.token_cls import TOKEN_CLS

import paddle
import pytest
from paddlenlp.trainer import TrainingArguments

from ernie_inference.errors import InputError
from ernie_inference.inference_config import InferenceConfig


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
    **dict.fromkeys(("weight_decay", "max_grad_norm", "rdrop_alpha", "fgm_epsilon"), (-0.1, "nan")),
    "num_folds": (1, 0),
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
        (["--long_texts", "max"], "argument --long_texts: invalid choice: 'max' (choose from 'cut', 'windows',"),
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


# ---------------------------------------------------------------- data set, model and folder


def parsed(*argv, family=SEQ_CLS):
    return parse_arguments(family, argv=[*argv, "--device", "cpu"])


def test_command_line_beats_config_beats_default(tmp_path):
    config = tmp_path / "config.yml"
    config.write_text(
        "DefaultArgs: {learning_rate: 1.0e-3, seed: 5}\nSequenceClassification: {tnews: {learning_rate: 2.0e-3}}\n"
    )
    _, data_args, args = parsed("--task_name", "tnews", "--config", str(config), "--seed", "6")
    assert (args.learning_rate, args.seed, args.weight_decay, data_args.max_seq_length) == (2e-3, 6, 0.0, 128)


@pytest.mark.parametrize("spelling", [["--task_name", "tnews"], ["--dataset", "clue tnews"], ["--dataset", "tnews"]])
def test_both_spellings(spelling):
    model_args, data_args, args = parsed(*spelling)
    assert (data_args.task_name, args.output_dir) == ("tnews", "best_models/TNEWS")
    assert model_args.model_name_or_path == "ernie-3.0-medium-zh"
    assert args.do_train and args.wants_eval and args.do_export and not args.do_predict


def test_the_design_s_commands_parse():
    base = parsed("--task_name", "tnews", "--model_name_or_path", "ernie-3.0-base-zh", "--do_train")
    assert base[2].do_train and not base[2].wants_eval and not base[2].do_export
    assert parsed("--task_name", "msra_ner", "--do_train", family=TOKEN_CLS)[2].output_dir == "best_models/MSRA_NER"
    assert parsed("--do_train", family=QA)[2].output_dir == "best_models/CMRC2018"


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--task_name", "tnews", "--bogus", "1"], "unknown flag --bogus"),
        (["--task_name", "tnews", "--learning_rate", "fast"], "invalid float value"),
        (["--task_name", "msra_ner"], "is not for this script"),
        (["--task_name", "tnewz"], "unknown data set 'tnewz'"),
        ([], "give the data set with --task_name"),
        (["--task_name", "tnews", "--save_steps", "5"], "--save_steps has no effect here"),
        (["--task_name", "tnews", "--metric_for_best_model=loss"], "--metric_for_best_model has no effect here"),
        (["--task_name", "tnews", "--doc_stride", "-5"], "--doc_stride -5: give a number from 0 on"),
        (["--task_name", "tnews", "--max_eval_samples", "0"], "--max_eval_samples 0: give a number from 1 on"),
        (["--task_name", "tnews", "--per_device_train_batch_size", "0"], "--per_device_train_batch_size 0: give"),
    ],
)
def test_wrong_arguments(argv, said):
    with pytest.raises(InputError, match=said):
        parsed(*argv)


@pytest.mark.parametrize("content", ["DefaultArgs: {learning_rat: 1}", "- a\n- b", "{", "DefaultArgs: 5"])
def test_wrong_config(tmp_path, content):
    path = tmp_path / "config.yml"
    path.write_text(content)
    with pytest.raises(InputError, match="config.yml") as error:
        parsed("--task_name", "tnews", "--config", str(path))
    assert "\n" not in str(error.value)


def test_without_training_a_models_own_lengths_and_folder_count(tmp_path):
    InferenceConfig("seq_cls", ["0", "1"], max_seq_length=256, doc_stride=7, long_texts="windows").save(tmp_path)
    model = ("--task_name", "tnews", "--model_name_or_path", str(tmp_path))
    _, data_args, args = parsed(*model, "--do_eval")
    assert (data_args.max_seq_length, data_args.doc_stride, args.output_dir) == (256, 7, str(tmp_path))
    assert data_args.long_texts == "windows"
    _, data_args, args = parsed(*model, "--do_export", "--max_seq_length", "64", "--output_dir", "x")
    assert (data_args.max_seq_length, data_args.doc_stride, args.output_dir) == (64, 7, "x")
    _, data_args, args = parsed(*model)  # trains
    assert data_args.max_seq_length == 128 and args.output_dir == "best_models/TNEWS"
    argv = [*model, "--output_dir", "./", "--device", "cpu"]
    assert parse_arguments(SEQ_CLS, CompressionArguments, argv=argv)[1].max_seq_length == 256


def test_without_training_the_model_is_the_one_trained_before(tmp_path):
    InferenceConfig("seq_cls", ["0", "1"], max_seq_length=32).save(tmp_path)
    model_args, data_args, _ = parsed("--task_name", "tnews", "--do_eval", "--output_dir", str(tmp_path))
    assert model_args.model_name_or_path == str(tmp_path) and data_args.max_seq_length == 32


def test_gpu_where_there_is_none():
    if paddle.device.is_compiled_with_cuda() and paddle.device.cuda.device_count():
        pytest.skip("this machine has a GPU")
    with pytest.raises(InputError, match="^--device gpu: .* use --device cpu"):
        choose_device("gpu")
