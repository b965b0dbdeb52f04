"""What training sees and what evaluation says: labels on tokens, answers in windows, metrics, arguments."""

import gc
import tracemalloc

from ernie_suite.arguments import choose_device
from ernie_suite.command_line import parse_arguments
from ernie_suite.compression.config import CompressionArguments
from ernie_suite.data import load_examples
from ernie_suite.features import Collator, Features
from ernie_suite.sampler import LengthGroupedSampler
from ernie_suite.tasks.family import IGNORED_LABEL
from ernie_suite.tasks.qa import QA, exact_match_f1
from ernie_suite.tasks.seq_cls import SEQ_CLS, accuracy
from ernie_suite.tasks.token_cls import TOKEN_CLS, entity_f1

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from paddlenlp.metrics.squad import normalize_answer, squad_evaluate

from ernie_inference.errors import InputError
from ernie_inference.inference_config import InferenceConfig
from ernie_inference.tasks.qa import QuestionAnswering
from ernie_inference.tasks.seq_cls import SequenceClassification
from ernie_inference.tasks.token_cls import TokenClassification, bio_spans
from ernie_inference.wordpiece import WordPiece
from examples.make_small_ernie import build_vocab

LABELS = ["B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC", "O"]


@pytest.fixture(scope="module")
def tokenizer():
    texts = [example["text"] for example in load_examples("sample_reviews", "dev")]
    return WordPiece(build_vocab(texts))


def perfect_outputs(features):
    """Outputs of a model that knows every label, as evaluation_loop returns them (padded to the longest)."""
    longest = max(features.lengths)
    logits = np.full((len(features), longest, len(LABELS)), -100.0, dtype="float32")
    for row, feature in enumerate(features):
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
    found = task.decode({"text": text}, task.windows({"text": text}), [(row,) for row in logits])["entities"]
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


def labels_of(tokenizer, tokens, tags, labels=LABELS, max_seq_length=48):
    """What training sees: the label of each model token of a token list, for each window."""
    task = TokenClassification(tokenizer, labels, max_seq_length, 4)
    windows = Features(TOKEN_CLS, task, [{"tokens": tokens, "labels": tags}])
    return [
        [labels[label] if label != IGNORED_LABEL else None for label in window["labels"][1:-1]] for window in windows
    ]


@pytest.mark.parametrize(
    ("tokens", "tags", "seen"),
    [
        ([*"张三", " ", *"李四"], "B-PER I-PER B-PER I-PER I-PER", "B-PER I-PER B-PER I-PER"),
        ([*"张三", "\u200b", "\u3000", "李"], "B-PER I-PER B-PER I-PER I-PER", "B-PER I-PER B-PER"),
        ([*"张三", " ", *"李四"], "B-PER I-PER O I-PER I-PER", "B-PER I-PER B-PER I-PER"),  # IOB1 begins with I-
        ([" ", *"李四"], "B-PER I-PER I-PER", "B-PER I-PER"),
        ([*"张三", " ", *"四"], "B-PER I-PER I-PER I-PER", "B-PER I-PER I-PER"),
        (["北京", "上海"], "B-LOC B-LOC", "B-LOC I-LOC B-LOC I-LOC"),
        ([*"的张三"], "O I-PER I-PER", "O B-PER I-PER"),
    ],
)
def test_the_first_token_of_an_entity_begins_it(tokenizer, tokens, tags, seen):
    assert labels_of(tokenizer, tokens, tags.split()) == [seen.split()]


def test_an_entity_that_an_earlier_window_begins_goes_on(tokenizer):
    tags = ["B-PER"] + ["I-PER"] * 19
    first, *others = labels_of(tokenizer, ["的"] * 20, tags, max_seq_length=12)
    assert first == tags[:10] and others and all(set(labels) == {"I-PER"} for labels in others)


@pytest.mark.parametrize("tokens", [["花", "3.5%", "去", "北京"], ["3.5%", "3.5%", "北京", "上海"]])
def test_a_type_without_i_has_one_entity_a_list_token(tokenizer, tokens):
    """Its first piece is learnt, the others are ignored, whatever the model says of them."""
    labels = ["B-NUM", "B-LOC", "O"]
    tags = ["O" if len(token) == 1 else "B-NUM" if "%" in token else "B-LOC" for token in tokens]
    (seen,) = labels_of(tokenizer, tokens, tags, labels)
    pieces = {"3.5%": 4, "北京": 2, "上海": 2}
    assert seen == [part for token, tag in zip(tokens, tags) for part in [tag] + [None] * (pieces.get(token, 1) - 1)]
    task, given_example = TokenClassification(tokenizer, labels, 48), {"tokens": tokens}
    gold = [
        {"entity": t, "label": tag[2:], "pos": [i, i]} for i, (t, tag) in enumerate(zip(tokens, tags)) if tag != "O"
    ]
    for of_the_others in labels:
        answers = ["O", *(label or of_the_others for label in seen), "O"]
        logits = np.eye(3, dtype="float32")[[labels.index(answer) for answer in answers]]
        assert task.decode(given_example, task.windows(given_example), [(logits,)])["entities"] == gold


def reading_labels(tokenizer, context, answers, starts, max_seq_length=64, stride=16):
    example = {"question": "谁", "context": context, "answers": answers, "answer_starts": starts}
    features = Features(QA, QuestionAnswering(tokenizer, [], max_seq_length, stride), [example])
    return features, [(feature["start_positions"], feature["end_positions"]) for feature in features]


@pytest.mark.parametrize(
    "answer", ["好人", " 好人", "\u3000好人\n", "\u200b好人\ufeff", "\u200b \t好人 \r\n", "好 人 "]
)
def test_characters_at_an_answers_edge_that_are_no_token_do_not_count(tokenizer, answer):
    features, places = reading_labels(tokenizer, f"他是{answer}。", [answer], [2])
    assert places == [(5, 6)] and not features.remarks  # [CLS] 谁 [SEP] 他 是 好 人


def test_an_answer_without_a_token_is_skipped_and_counted(tokenizer):
    features, places = reading_labels(tokenizer, "他是 \u3000。", [" \u3000"], [2])
    assert places == [(IGNORED_LABEL, IGNORED_LABEL)]
    assert features.remarks == {"have no answer with a token in their text": 1}


def test_training_takes_the_first_answer_that_stands_in_the_text(tokenizer):
    _, places = reading_labels(tokenizer, "他 好人。", ["坏人", " ", "好人"], [-1, 1, 2])
    assert places == [(4, 5)]


def test_an_answer_that_no_window_holds_is_counted(tokenizer):
    features, places = reading_labels(tokenizer, "的" * 100, ["的" * 61], [20])
    assert len(places) > 1 and set(places) == {(0, 0)}
    assert list(features.remarks.values()) == [1] and "no window holds" in next(iter(features.remarks))


@settings(max_examples=200, deadline=None)
@given(st.text("的一 \u200b是a1。", min_size=1, max_size=150), st.data())
def test_a_window_has_an_answer_if_it_has_all_its_tokens(context, data):
    tokenizer = WordPiece(build_vocab(["的一是a1。" * 3]))
    start = data.draw(st.integers(0, len(context) - 1))
    end = data.draw(st.integers(start + 1, len(context)))
    task = QuestionAnswering(tokenizer, [], 40, 10)
    example = {"question": "是", "context": context, "answers": [context[start:end]], "answer_starts": [start]}
    covered = [
        i for i, (s, e) in enumerate(zip(*tokenizer.encode(context)[1:])) if s < end and e > start
    ]  # of the whole text
    for feature, window in zip(Features(QA, task, [example]), task.windows(example)):
        inside = [window.offset + i - window.begin for i in covered]
        whole = covered and window.begin <= covered[0] and covered[-1] < window.begin + len(window.starts)
        expected = (inside[0], inside[-1]) if whole else (0, 0) if covered else (IGNORED_LABEL, IGNORED_LABEL)
        assert (feature["start_positions"], feature["end_positions"]) == expected


EXAMPLES = {
    "seq_cls": st.fixed_dictionaries(
        {"text": st.text(max_size=60), "text_pair": st.none() | st.text(max_size=60), "label": st.sampled_from("ab")}
    ),
    "token_cls": st.lists(st.sampled_from(["的", "一", " ", "ab1", "好的"]), max_size=80).map(
        lambda tokens: {"tokens": tokens, "labels": ["O"] * len(tokens)}
    ),
    "qa": st.builds(
        lambda question, context: {"question": question, "context": context, "answers": None, "answer_starts": None},
        st.text(max_size=20),
        st.sampled_from(["的一是" * 40, "", "好" * 30, "a b c"]),  # several questions have one text
    ),
}


@pytest.mark.parametrize("family", [SEQ_CLS, TOKEN_CLS, QA])
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_features_are_the_windows_that_deployment_makes(family, data):
    tokenizer = WordPiece(build_vocab(["的一是不了人我在有他好ab1" * 3]))
    task = family.task_class(tokenizer, LABELS if family is TOKEN_CLS else ["a", "b"], 32, 8)
    examples = data.draw(st.lists(EXAMPLES[task.name], max_size=6))
    windows = [(w.input_ids, w.token_type_ids) for example in examples for w in task.windows(example)]
    for by_length in (False, True):
        features = Features(family, task, examples, by_length)
        assert [len(feature["input_ids"]) for feature in features] == features.lengths.tolist()
        expected = sorted(windows, key=lambda window: -len(window[0])) if by_length else windows
        assert [(feature["input_ids"], feature["token_type_ids"]) for feature in features] == expected


class CountingTokenizer(WordPiece):
    """Counts the characters that it tokenizes."""

    count = 0

    def _encode(self, text, enough):
        self.count += min(len(text), enough)
        return super()._encode(text, enough)


def bytes_kept(make):
    """(what make() returns, bytes that are still held afterwards)."""
    gc.collect()
    tracemalloc.start()
    made = make()
    gc.collect()
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return made, held


def test_memory_of_classification(tokenizer):
    """A text of 128 tokens is kept in less than 350 bytes; lists of ints would take ten times as much."""
    texts = [example["text"] for example in load_examples("sample_reviews", "dev")]
    texts = ["".join(texts[i : i + 12])[:140] for i in range(0, len(texts) - 12)]
    examples = [{"text": text, "text_pair": None, "label": "ab"[i % 2]} for i, text in enumerate(texts)]
    task = SequenceClassification(tokenizer, ["a", "b"], 128)
    Features(SEQ_CLS, task, examples)  # so that what the tokenizer remembers is there before
    features, held = bytes_kept(lambda: Features(SEQ_CLS, task, examples))
    assert features.lengths.mean() > 110
    assert held / len(examples) < 350


def test_questions_on_one_text_share_its_tokens(tokenizer):
    """A window of 384 tokens is kept in less than 300 bytes, and every text is tokenized once."""
    tokenizer = CountingTokenizer(tokenizer.vocab)
    sentences = ["".join(example["tokens"]) for example in load_examples("sample_people_daily", "dev")]
    contexts = ["".join(sentences[i : i + 20])[:900] for i in range(0, 400, 20)]
    questions = [{"question": f"第{i}？", "answers": ["的"], "answer_starts": [0]} for i in range(10)]
    examples = [{**question, "context": context} for context in contexts for question in questions]
    task = QuestionAnswering(tokenizer, [], 384, 128)
    Features(QA, task, examples)
    tokenizer.count = 0
    features, held = bytes_kept(lambda: Features(QA, task, examples))
    assert len(features) > 2 * len(examples)
    assert held / len(features) < 300
    assert tokenizer.count <= sum(map(len, contexts)) + 4 * len(examples)


def test_of_a_long_text_no_more_is_tokenized_than_fits(tokenizer):
    tokenizer = CountingTokenizer(tokenizer.vocab)
    task = SequenceClassification(tokenizer, ["a", "b"], 32)
    for text_pair in (None, "1中" * 100_000):
        example = {"text": "1中" * 100_000, "text_pair": text_pair}
        (window,) = task.windows(example)
        assert task.decode(example, [window], [(np.array([0.0, 1.0]),)])["truncated"]
    assert tokenizer.count < 500


def test_answers_survive_windows(tokenizer):
    examples = load_examples("sample_reading", "dev")[:200]
    task = QuestionAnswering(tokenizer, [], 96, 24)
    features = Features(QA, task, examples, by_length=True)
    assert len(features) > len(examples)
    starts, ends = (np.zeros((len(features), 96), dtype="float32") for _ in range(2))
    for row, feature in enumerate(features):
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
    logits = np.eye(2, dtype="float32")[[feature["labels"] for feature in features]]
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


@pytest.mark.parametrize(
    ("wanted", "found", "exact", "f1"),
    [
        ("New York", "New Jersey", 0, 2 * 5 / (7 + 9)),
        ("3 月 5 日", "3 月 6 日", 0, 3 / 4),
        ("玛丽·居里", "玛丽居里。", 1, 1),  # punctuation counts for nothing
        ("Windows NT", "windows  nt", 1, 1),
        ("北京 大学", "北京大学", 0, 1),
        ("the Beatles", "Beatles", 1, 1),
        ("A", "the", 0, 0),  # nothing is left of either without articles
        ("A", "a", 1, 1),
        ("《》", "", 0, 0),
        ("北京", "", 0, 0),
    ],
)
def test_an_answer_counts_whole_also_behind_a_space(wanted, found, exact, f1):
    scores = exact_match_f1([{"answers": [wanted]}], [{"answer": found}])
    assert scores == {"exact_match": exact, "f1": pytest.approx(f1)}


PIECES = st.sampled_from(list("北京大学，。《》·“”-…【】年月0189abTheXé％") + ["the", "An", "2010"])
ANSWERS = st.lists(PIECES, min_size=1, max_size=12).map("".join)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.lists(ANSWERS, min_size=1, max_size=3), ANSWERS), min_size=1, max_size=4))
def test_where_no_space_stands_the_figures_are_paddlenlp_s(pairs):
    """Those that were published, so that they can be compared."""
    answers = [text for wanted, found in pairs for text in [*wanted, found]]
    assume(all(len(normalize_answer(text).split()) == 1 for text in answers))
    gold = [
        {"id": i, "answers": {"text": wanted, "answer_start": [0] * len(wanted)}} for i, (wanted, _) in enumerate(pairs)
    ]
    published = squad_evaluate(gold, {i: found for i, (_, found) in enumerate(pairs)}, is_whitespace_splited=False)
    ours = exact_match_f1([{"answers": wanted} for wanted, _ in pairs], [{"answer": found} for _, found in pairs])
    assert ours["exact_match"] * 100 == pytest.approx(published["exact"])
    assert ours["f1"] * 100 == pytest.approx(published["f1"])


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
