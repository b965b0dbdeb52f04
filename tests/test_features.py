"""What training sees and what evaluation says: labels on tokens, answers in windows, metrics, arguments."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from data import load_examples
from ernie_predictor import (
    InferenceConfig,
    InputError,
    QuestionAnswering,
    SequenceClassification,
    TokenClassification,
    bio_spans,
)
from make_small_ernie import build_vocab
from model_compression import CompressionArguments
from trainer import LengthGroupedSampler
from utils import (
    IGNORED_LABEL,
    QA,
    SEQ_CLS,
    TOKEN_CLS,
    Collator,
    Features,
    accuracy,
    choose_device,
    entity_f1,
    exact_match_f1,
    parse_arguments,
)
from wordpiece import WordPiece

LABELS = ["B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC", "O"]


@pytest.fixture(scope="module")
def tokenizer():
    texts = [example["text"] for example in load_examples("sample_reviews", "dev")]
    return WordPiece(build_vocab(texts))


def perfect_outputs(features):
    """Outputs of a model that knows every label, as evaluation_loop returns them (padded to the longest)."""
    longest = max(len(feature["input_ids"]) for feature in features.features)
    logits = np.full((len(features), longest, len(LABELS)), -100.0, dtype="float32")
    for row, feature in enumerate(features.features):
        for i, label in enumerate(feature["labels"]):
            logits[row, i] = 0
            logits[row, i, label if label != IGNORED_LABEL else 0] = 9
    return (logits,)


def result_of(tokenizer, example, max_seq_length=48, stride=8):
    task = TokenClassification(tokenizer, LABELS, max_seq_length, stride)
    features = Features(TOKEN_CLS, task, [example])
    return features.results(perfect_outputs(features))


@pytest.mark.parametrize(
    "tokens",
    [
        list("在China工作"),  # a Latin word, a letter a token, that the tokenizer joins and splits again
        list("于1998年１２月在北京"),
        list("张 三在\u3000北 京"),  # white space that the tokenizer drops
        ["New", "York", "与", "Los", "Angeles"],
        list("乒乓球😀龘龖"),
        list("ABC"),
    ],
)
def test_tags_survive_the_tokenizer(tokenizer, tokens):
    for first in range(len(tokens)):
        for last in range(first, len(tokens)):
            if tokens[first].isspace() or tokens[last].isspace():
                continue
            tags = ["O"] * len(tokens)
            tags[first : last + 1] = ["B-LOC"] + ["I-LOC"] * (last - first)
            (result,) = result_of(tokenizer, {"tokens": tokens, "labels": tags})
            if is_cut_by_words(tokens, first, last):
                continue  # a model token lies half inside: no tag can say that
            assert [(e["label"], e["pos"]) for e in result["entities"]] == [("LOC", [first, last])]


def is_cut_by_words(tokens, first, last):
    """Whether an end of the entity is inside a run that can become a single unknown token."""
    return are_one_word(*tokens[max(first - 1, 0) : first + 1]) or are_one_word(*tokens[last : last + 2])


def are_one_word(before, after=""):
    if not before.isalnum() or not after.isalnum() or max(len(before), len(after)) > 1:
        return False
    return not any("\u4e00" <= char <= "\u9fff" for char in before + after)


def test_perfect_logits_give_perfect_f1_on_the_corpus(tokenizer):
    """Features, windows, merging and decoding lose nothing but the ends inside a token."""
    examples = load_examples("sample_people_daily", "dev")[:300]
    features = Features(TOKEN_CLS, TokenClassification(tokenizer, LABELS, 40, 8), examples, by_length=True)
    assert len(features) > 2 * len(examples)
    assert entity_f1(examples, features.results(perfect_outputs(features)))["f1"] > 0.999


def entities_in_text(tokenizer, chars, tags):
    """What a model that knows every tag finds in a text, given as a text; and the text."""
    task, text = TokenClassification(tokenizer, LABELS, 64, 16), "".join(chars)
    features = Features(TOKEN_CLS, task, [{"tokens": chars, "labels": tags}])
    (logits,) = perfect_outputs(features)
    found = task.decode({"text": text}, features.windows[0], [(row,) for row in logits])["entities"]
    for entity in found:
        first, last = entity["pos"]
        assert text[first : last + 1] == entity["entity"]
    return text, [(entity["label"], *entity["pos"]) for entity in found]


def gold_of(tags):
    return [(label, i, j - 1) for label, i, j in bio_spans([(tag, i, i + 1) for i, tag in enumerate(tags)])]


def is_clean(chars, tags):
    """Whether no end of an entity is inside a run that can become a single token."""
    return not any(is_cut_by_words(chars, first, last) for _, first, last in gold_of(tags))


def test_positions_in_every_dev_sentence(tokenizer):
    sentences = 0
    for example in load_examples("sample_people_daily", "dev"):
        chars, tags = example["tokens"], example["labels"]
        if is_clean(chars, tags):
            assert entities_in_text(tokenizer, chars, tags)[1] == gold_of(tags)
            sentences += 1
    assert sentences > 1800


NOISE = [" ", "  ", "\u3000", "ABC", " iPhone12 ", "2024", "３.５", "😀", "👩‍👩‍👧", "\u200b", "é"]
SENTENCES = [e for e in load_examples("sample_people_daily", "dev") if any(tag != "O" for tag in e["labels"])]


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(SENTENCES),
    st.lists(st.tuples(st.integers(0, 10_000), st.sampled_from(NOISE)), min_size=1, max_size=8),
)
def test_positions_with_anything_put_in_anywhere(tokenizer, sentence, noise):
    """Between the characters of an entity too, of which it then is a part."""
    chars, tags = list(sentence["tokens"]), list(sentence["labels"])
    for place, piece in noise:
        place %= len(chars) + 1
        inside = 0 < place < len(tags) and tags[place].startswith("I-")
        chars[place:place] = piece
        tags[place:place] = [tags[place] if inside else "O"] * len(piece)
    assume(is_clean(chars, tags))
    text, found = entities_in_text(tokenizer, chars, tags)
    assert found == gold_of(tags) and text == "".join(chars)


def test_answers_survive_windows(tokenizer):
    examples = load_examples("sample_reading", "dev")[:200]
    task = QuestionAnswering(tokenizer, [], 96, 24)
    features = Features(QA, task, examples, by_length=True)
    assert len(features) > len(examples)
    starts, ends = (np.zeros((len(features), 96), dtype="float32") for _ in range(2))
    for row, feature in enumerate(features.features):
        for logits, key in ((starts, "start_positions"), (ends, "end_positions")):
            if feature[key]:
                logits[row, feature[key]] = 9
    scores = exact_match_f1(examples, features.results((starts, ends)))
    assert scores["exact_match"] > 0.97 and scores["f1"] > 0.97


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(max_size=30), min_size=1, max_size=8))
def test_results_come_in_the_order_of_the_examples(texts):
    tokenizer = WordPiece(build_vocab(["的一是不了人我在有他" * 3]))
    task = SequenceClassification(tokenizer, ["a", "b"], 16)
    examples = [{"text": text, "text_pair": None, "label": "ab"[len(text) % 2]} for text in texts]
    features = Features(SEQ_CLS, task, examples, by_length=True)
    logits = np.eye(2, dtype="float32")[[feature["labels"] for feature in features.features]]
    assert accuracy(examples, features.results((logits,))) == {"accuracy": 1.0}


def test_pairs_are_cut_at_the_longer_side(tokenizer):
    task = SequenceClassification(tokenizer, ["a", "b"], 16)
    (window,) = task.windows({"text": "的" * 40, "text_pair": "好" * 3})
    assert len(window.input_ids) == 16 and window.token_type_ids == [0] * 12 + [1] * 4
    (window,) = task.windows({"text": "的" * 3, "text_pair": "好" * 40})
    assert len(window.input_ids) == 16 and window.token_type_ids == [0] * 5 + [1] * 11


def test_collator_pads_with_what_counts_for_nothing():
    batch = Collator(pad_id=7)(
        [
            {"input_ids": [1, 2], "token_type_ids": [0, 0], "labels": [3, 3]},
            {"input_ids": [1], "token_type_ids": [0], "labels": [4]},
        ]
    )
    assert batch["input_ids"].tolist() == [[1, 2], [1, 7]] and batch["labels"].tolist() == [[3, 3], [4, IGNORED_LABEL]]


@pytest.mark.parametrize("replicas", [1, 2, 3])
def test_every_example_is_in_one_batch_an_epoch(tokenizer, replicas):
    examples = load_examples("sample_reviews", "dev")[:500]
    features = Features(SEQ_CLS, SequenceClassification(tokenizer, ["negative", "positive"], 64), examples)
    per_rank = [list(LengthGroupedSampler(features, 16, 1, replicas, rank)) for rank in range(replicas)]
    assert len({len(batches) for batches in per_rank}) == 1 == len({tuple(map(len, b)) for b in per_rank})
    assert {i for batches in per_rank for batch in batches for i in batch} == set(range(500))
    again = LengthGroupedSampler(features, 16, 1, replicas, 0)
    assert list(again) == per_rank[0] and list(again) != per_rank[0]  # the next epoch has another order
    padding = [max(map(again.lengths.__getitem__, b)) - again.lengths[i] for b in per_rank[0] for i in b]
    assert np.mean(padding) < 5


def test_entity_f1_counts_type_and_both_ends():
    example = {"tokens": list("江泽民在北京"), "labels": ["B-PER", "I-PER", "I-PER", "O", "B-LOC", "I-LOC"]}
    entities = [{"label": "PER", "pos": [0, 2]}, {"label": "LOC", "pos": [4, 4]}]
    assert entity_f1([example], [{"entities": entities}]) == {"f1": 0.5, "precision": 0.5, "recall": 0.5}


def test_exact_match_and_f1():
    examples = [{"answers": ["北京市", "北京"], "answer_starts": [0, 0]}, {"answers": ["上海"], "answer_starts": [0]}]
    scores = exact_match_f1(examples, [{"answer": "北京"}, {"answer": "上"}])
    assert scores["exact_match"] == 0.5 and scores["f1"] == pytest.approx((1 + 2 / 3) / 2)


def parse(*argv, family=SEQ_CLS):
    return parse_arguments(family, argv=[*argv, "--device", "cpu"])


def test_command_line_beats_config_beats_default(tmp_path):
    config = tmp_path / "config.yml"
    config.write_text(
        "DefaultArgs: {learning_rate: 1.0e-3, seed: 5}\nSequenceClassification: {tnews: {learning_rate: 2.0e-3}}\n"
    )
    _, data_args, args = parse("--task_name", "tnews", "--config", str(config), "--seed", "6")
    assert (args.learning_rate, args.seed, args.weight_decay, data_args.max_seq_length) == (2e-3, 6, 0.0, 128)


@pytest.mark.parametrize("spelling", [["--task_name", "tnews"], ["--dataset", "clue tnews"], ["--dataset", "tnews"]])
def test_both_spellings(spelling):
    model_args, data_args, args = parse(*spelling)
    assert (data_args.task_name, args.output_dir) == ("tnews", "best_models/TNEWS")
    assert model_args.model_name_or_path == "ernie-3.0-medium-zh"
    assert args.do_train and args.wants_eval and args.do_export and not args.do_predict


def test_the_design_s_commands_parse():
    base = parse("--task_name", "tnews", "--model_name_or_path", "ernie-3.0-base-zh", "--do_train")
    assert base[2].do_train and not base[2].wants_eval and not base[2].do_export
    assert parse("--task_name", "msra_ner", "--do_train", family=TOKEN_CLS)[2].output_dir == "best_models/MSRA_NER"
    assert parse("--do_train", family=QA)[2].output_dir == "best_models/CMRC2018"


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
        parse(*argv)


@pytest.mark.parametrize("content", ["DefaultArgs: {learning_rat: 1}", "- a\n- b", "{", "DefaultArgs: 5"])
def test_wrong_config(tmp_path, content):
    path = tmp_path / "config.yml"
    path.write_text(content)
    with pytest.raises(InputError, match="config.yml") as error:
        parse("--task_name", "tnews", "--config", str(path))
    assert "\n" not in str(error.value)


def test_without_training_a_models_own_lengths_and_folder_count(tmp_path):
    InferenceConfig("seq_cls", ["0", "1"], max_seq_length=256, doc_stride=7).save(tmp_path)
    model = ("--task_name", "tnews", "--model_name_or_path", str(tmp_path))
    _, data_args, args = parse(*model, "--do_eval")
    assert (data_args.max_seq_length, data_args.doc_stride, args.output_dir) == (256, 7, str(tmp_path))
    _, data_args, args = parse(*model, "--do_export", "--max_seq_length", "64", "--output_dir", "x")
    assert (data_args.max_seq_length, data_args.doc_stride, args.output_dir) == (64, 7, "x")
    _, data_args, args = parse(*model)  # trains
    assert data_args.max_seq_length == 128 and args.output_dir == "best_models/TNEWS"
    argv = [*model, "--output_dir", "./", "--device", "cpu"]
    assert parse_arguments(SEQ_CLS, CompressionArguments, argv=argv)[1].max_seq_length == 256


def test_without_training_the_model_is_the_one_trained_before(tmp_path):
    InferenceConfig("seq_cls", ["0", "1"], max_seq_length=32).save(tmp_path)
    model_args, data_args, _ = parse("--task_name", "tnews", "--do_eval", "--output_dir", str(tmp_path))
    assert model_args.model_name_or_path == str(tmp_path) and data_args.max_seq_length == 32


def test_calibration_sizes_that_were_not_typed_fit_the_dev_set():
    assert CompressionArguments().config().quantization_config.batch_size_list == [4, 8, 16]
    assert CompressionArguments().config(10).quantization_config.batch_size_list == [4, 8, 10]
    assert CompressionArguments().config(3).quantization_config.batch_size_list == [3]
    assert CompressionArguments(batch_size_list=[32]).config(10).quantization_config.batch_size_list == [32]


def test_gpu_where_there_is_none():
    import paddle

    if paddle.device.is_compiled_with_cuda() and paddle.device.cuda.device_count():
        pytest.skip("this machine has a GPU")
    with pytest.raises(InputError, match="^--device gpu: .* use --device cpu"):
        choose_device("gpu")
