"""What compression can be asked for, in the API and on the command line."""

from dataclasses import fields

from ernie_suite.arguments import FinetuneArguments
from ernie_suite.command_line import COMPRESSION_WITHOUT_EFFECT, parse_arguments
from ernie_suite.compression.config import PTQConfig
from ernie_suite.compression.flags import OF_PRUNING, OF_QUANTIZATION, OF_TRAINING, CompressionArguments
from ernie_suite.tasks.seq_cls import SEQ_CLS

import pytest

from ernie_inference.errors import InputError


def test_calibration_sizes_that_were_not_typed_fit_the_dev_set():
    assert CompressionArguments().config().quantization_config.batch_size_list == [4, 8, 16]
    assert CompressionArguments().config(10).quantization_config.batch_size_list == [4, 8, 10]
    assert CompressionArguments().config(3).quantization_config.batch_size_list == [3]
    assert CompressionArguments(batch_size_list=[32]).config(10).quantization_config.batch_size_list == [32]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"algo_list": ["hist", "max"]}, "quantization algorithm max: give of KL"),
        ({"algo_list": []}, r"algo_list \[\]: give a list of"),
        ({"algo_list": "hist"}, "algo_list 'hist': give a list of"),
        ({"algo_list": ["hist", "mse", "hist"]}, "algo_list names hist twice"),
        ({"batch_size_list": [4, 0]}, r"batch_size_list \[4, 0\]: give numbers of calibration texts from 1 on"),
        ({"batch_size_list": [-4]}, "from 1 on"),
        ({"batch_size_list": [2.5]}, "from 1 on"),
        ({"batch_size_list": []}, r"batch_size_list \[\]: give a list of numbers"),
        ({"batch_size_list": 4}, "batch_size_list 4: give a list of numbers"),
        ({"batch_size_list": [4, 4]}, "batch_size_list names 4 twice"),
        ({"output_filename_prefix": "../int8"}, "'../int8' is not a file's name"),
        ({"output_filename_prefix": ""}, "'' is not a file's name"),
        ({"weight_quantize_type": "max"}, "weight_quantize_type max: give one of abs_max"),
        ({"mixed_precision": [0]}, r"mixed_precision \[0\]: give a list of numbers of products from 1 on"),
        ({"mixed_precision": 2}, "mixed_precision 2: give a list of numbers"),
        ({"mixed_precision": [2, 2]}, "mixed_precision names 2 twice"),
    ],
)
def test_wrong_quantization_settings_are_refused(options, says):
    with pytest.raises(InputError, match=says) as caught:
        PTQConfig(**options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--width_mult_list", "0"], "width 0 is not above 0 and up to 1"),
        (["--width_mult_list", "5/4"], "width 5/4 is not above 0 and up to 1"),
        (["--width_mult_list", "3/4", "wide"], "width 'wide' is not a number"),
        (["--width_mult_list", "3/4", "0.75"], "width_mult_list names 0.75 twice"),
        (["--width_mult_list"], "argument --width_mult_list: expected at least one argument"),
        (["--target_speedup", "1"], "target_speedup 1 is not a number above 1: give for example 4"),
        (["--target_speedup", "nan"], "target_speedup nan is not a number above 1"),
        (["--target_speedup", "inf"], "target_speedup inf is not a number above 1"),
        (["--target_speedup", "fast"], "target_speedup 'fast' is not a number: give for example 4 or 2.5"),
        (["--target_speedup", "4", "8", "4.0"], "target_speedup names 4 twice: give each once"),
        (["--target_speedup"], "argument --target_speedup: expected at least one argument"),
        (["--target_speedup", "4", "--no_pruning"], "--no_pruning is on: leave out one of them"),
        (["--depth_mult_list", "-1/2"], "depth_mult_list|-1/2"),
        (["--depth_mult_list", "0"], "depth 0 is not above 0 and up to 1"),
        (["--depth_mult_list", "1", "deep"], "depth 'deep' is not a number"),
        (["--depth_mult_list", "1/2", "0.5"], "depth_mult_list names 0.5 twice"),
        (["--drop_layers", "last"], "drop_layers last: give one of every_other, importance"),
        (["--batch_size_list", "0"], r"batch_size_list \[0\]: give numbers of calibration texts from 1 on"),
        (["--batch_size_list", "4", "-8"], "batch_size_list|-8"),
        (["--batch_size_list", "four"], "argument --batch_size_list: invalid int value: 'four'"),
        (["--batch_size_list", "8", "8"], "batch_size_list names 8 twice"),
        (["--algo_list", "hist", "max"], "quantization algorithm max"),
        (["--weight_quantize_type", "max"], "weight_quantize_type max"),
        (["--mixed_precision", "-1"], "mixed_precision|-1"),
        (["--mixed_precision", "few"], "argument --mixed_precision: invalid int value: 'few'"),
        (["--input_dir", "somewhere"], "add --no_pruning"),
        (["--input_dir", "somewhere", "--no_pruning", "--no_quantization"], "quantization must not be off"),
        *(
            (["--" + flag], f"--{flag} has no effect here")
            for flag in ("do_train", "do_eval", "do_predict", "do_export")
        ),
        *(
            ([f"--{flag}", "x"], f"--{flag} has no effect here")
            for flag in ("report_to", "logging_dir", "run_name", "save_total_limit", "rdrop_alpha", "num_folds")
        ),
        (["--to_static"], "--to_static has no effect here"),
        (["--no_pruning", "--width_mult_list", "3/4"], "--width_mult_list has no effect here: it is for pruning"),
        (["--student", "some", "--width_mult_list", "3/4"], "--width_mult_list has no effect here: it is for pruning"),
        (["--no_pruning", "--token_dropout", "0.1"], "--token_dropout has no effect here: it is for training"),
        (["--no_pruning", "--learning_rate=1e-4"], "--learning_rate has no effect here: it is for training"),
        (["--no_pruning", "--max_train_samples", "9"], "--max_train_samples has no effect here: nothing reads the tr"),
        (["--no_quantization", "--algo_list", "hist"], "--algo_list has no effect here: it is for quantization"),
        (["--no_quantization", "--no_smoothing"], "--no_smoothing has no effect here: it is for quantization"),
        (["--no_quantization", "--mixed_precision", "2"], "--mixed_precision has no effect here: it is for quant"),
        (["--input_filename_prefix", "model"], "--input_filename_prefix has no effect here: it names a model in --inp"),
        (["--drop_layers", "importance"], "--drop_layers has no effect here: it is for a --depth_mult_list below 1"),
    ],
)
def test_wrong_flags_are_refused_before_anything_is_loaded(tmp_path, flags, says):
    argv = ["--task_name", "sample_reviews", "--model_name_or_path", str(tmp_path / "none"), "--device", "cpu"]
    with pytest.raises(InputError, match=says) as caught:
        parse_arguments(SEQ_CLS, CompressionArguments, argv=[*argv, *flags])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "flags",
    [
        ["--student", "some", "--no_pruning", "--token_dropout", "0.1", "--learning_rate=1e-4"],
        ["--keep_vocab", "5000", "--no_pruning", "--max_train_samples", "9"],
        ["--no_quantization", "--drop_layers", "importance", "--depth_mult_list", "1", "1/2", "--token_dropout", "0.1"],
        ["--no_pruning", "--input_dir", "some", "--input_filename_prefix", "model", "--no_smoothing"],
    ],
)
def test_flags_of_the_steps_that_are_done_are_taken(tmp_path, flags):
    argv = ["--task_name", "sample_reviews", "--model_name_or_path", str(tmp_path / "none"), "--device", "cpu"]
    parse_arguments(SEQ_CLS, CompressionArguments, argv=[*argv, *flags])


def test_every_flag_of_a_step_is_a_flag():
    known = {each.name for kind in (FinetuneArguments, CompressionArguments) for each in fields(kind)}
    assert known >= {*OF_PRUNING, *OF_QUANTIZATION, *OF_TRAINING, *COMPRESSION_WITHOUT_EFFECT}


@pytest.mark.parametrize(
    ("flags", "widths", "speedups"),
    [
        ({}, [0.75], []),
        ({"target_speedup": ["4", "2.5"]}, [], [4, 2.5]),
        ({"target_speedup": ["4"], "width_mult_list": ["1/2"]}, [0.5], [4]),
        ({"target_speedup": ["4"], "depth_mult_list": ["1/2"]}, [0.75], [4]),
    ],
)
def test_the_grid_is_made_unless_only_speed_ups_are_asked_for(flags, widths, speedups):
    config = CompressionArguments(**flags).config().prune_config
    assert (config.width_mult_list, config.target_speedup_list) == (widths, speedups)


def test_the_compression_section_of_the_config_beats_the_data_sets_own(tmp_path):
    config = tmp_path / "config.yml"
    config.write_text(
        "SequenceClassification:\n  tnews: {num_train_epochs: 3, weight_decay: 0.5}\n"
        "Compression:\n  tnews: {num_train_epochs: 1}\n"
    )
    argv = ["--task_name", "tnews", "--config", str(config), "--device", "cpu", "--model_name_or_path", "m"]
    compressing = parse_arguments(SEQ_CLS, CompressionArguments, argv=argv)[2]
    assert (compressing.num_train_epochs, compressing.weight_decay) == (1, 0.5)
    assert parse_arguments(SEQ_CLS, argv=argv)[2].num_train_epochs == 3
    typed = parse_arguments(SEQ_CLS, CompressionArguments, argv=[*argv, "--num_train_epochs", "7"])[2]
    assert typed.num_train_epochs == 7
