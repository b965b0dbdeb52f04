"""A token keeps its id in every file and folder, whatever the vocabulary it came from looks like."""

from ernie_suite.command_line import parse_arguments
from ernie_suite.compression.config import CompressConfig, PTQConfig
from ernie_suite.models import load_tokenizer
from ernie_suite.scripts import build_trainer
from ernie_suite.tasks.seq_cls import SEQ_CLS

import paddle
import pytest
from paddlenlp.transformers import AutoTokenizer, BertTokenizer, ErnieConfig, ErnieForMaskedLM, ErnieTokenizer

from ernie_inference.errors import InputError
from ernie_inference.inference_config import load_task
from ernie_inference.wordpiece import WordPiece
from ernie_serving.model_to_serving import convert
from tests.support.models import corpus, make_vocab

HEAD = ["[PAD]", "[CLS]", "[SEP]", "[MASK]"]
TEXT = "价格 $5，很好 volunteer，龘 nrg"


def published_like() -> list:
    """Lines with the traits of ERNIE 3.0's vocabulary and of files that people have edited.

    A token stands twice with others behind it, [UNK] comes last, and there are blank lines and spaces at line ends.
    """
    words = [token for token in make_vocab() if token not in (*HEAD, "[UNK]", "$")]
    middle = len(words) // 2
    return [*HEAD, *words[:middle], "$", "", *words[middle:-9], "$", "volunteer", " nrg", "nrg ", "", "nrg", "[UNK]"]


FILES = {
    "a duplicate": "[PAD]\n[CLS]\n[SEP]\n[MASK]\n好\n$\n很\n$\n价\n[UNK]\n",
    "blank lines": "[PAD]\n[CLS]\n\n[SEP]\n[MASK]\n\n\n好\n[UNK]\n$\n",
    "blank lines at the end": "[PAD]\n[CLS]\n[SEP]\n[MASK]\n好\n[UNK]\n$\n\n\n",
    "no line end at the end": "[PAD]\n[CLS]\n[SEP]\n[MASK]\n[UNK]\n$\n好",
    "spaces": "[PAD]\n[CLS]\n[SEP]\n[MASK]\n[UNK]\n好 \n很\n $\n好\n很\t\n$\n",
    "Windows line ends": "[PAD]\r\n[CLS]\r\n[SEP]\r\n[MASK]\r\n好\r\n\r\n[UNK]\r\n$\r\n好\r\n价",
    "other line ends": "[PAD]\r[CLS]\n[SEP]\n[MASK]\r\n好\n\r\n[UNK]\n$\n好\u2028很\n价\x85\x0b\n很\n",
    "like the published one": "\n".join(published_like()) + "\n",
}


def tokens_of(vocab) -> dict:
    """A map without the blank line, which is no token, and without what PaddleNLP's defaultdict adds when asked."""
    return {token: number for token, number in vocab.items() if token}


@pytest.fixture(params=FILES)
def vocab_file(request, tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_bytes(FILES[request.param].encode("utf-8"))
    return path


def test_a_file_is_read_as_paddlenlp_reads_it(vocab_file):
    ours, theirs = WordPiece.from_file(vocab_file), ErnieTokenizer(str(vocab_file))
    assert ours.vocab == tokens_of(ErnieTokenizer.load_vocabulary(str(vocab_file)).token_to_idx)
    assert ours.encode(TEXT).ids == theirs.convert_tokens_to_ids(theirs._tokenize(TEXT))


def test_a_file_written_back_says_the_same_to_both(vocab_file, tmp_path):
    ours = WordPiece.from_file(vocab_file)
    ours.save(tmp_path / "again.txt")
    assert WordPiece.from_file(tmp_path / "again.txt").vocab == ours.vocab
    assert tokens_of(ErnieTokenizer.load_vocabulary(str(tmp_path / "again.txt")).token_to_idx) == ours.vocab


def test_a_map_with_holes_keeps_its_ids(vocab_file, tmp_path):
    """A PaddleNLP tokenizer has only the map; where lines were equal or blank, it has no token for an id."""
    vocab = tokens_of(ErnieTokenizer.load_vocabulary(str(vocab_file)).token_to_idx)
    WordPiece(vocab).save(tmp_path / "again.txt")
    assert WordPiece.from_file(tmp_path / "again.txt").vocab == vocab
    assert ErnieTokenizer.load_vocabulary(str(tmp_path / "again.txt")).token_to_idx == vocab


def test_a_byte_order_mark_is_no_part_of_the_first_token(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_bytes(b"\xef\xbb\xbf" + FILES["a duplicate"].encode())
    ours = WordPiece.from_file(path)
    assert ours.pad_id == 0 and ours.vocab["价"] == 8
    ours.save(path)
    assert path.read_bytes() == FILES["a duplicate"].encode()


GOOD = {token: number for number, token in enumerate([*HEAD, "[UNK]", "好"])}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"很": 5}, "'好' cannot keep its id 5"),
        ({"a\nb": 6}, r"'a\\nb' cannot keep its id 6"),
        ({"a\r": 6}, r"'a\\r' cannot keep its id 6"),
        ({"": 6}, "'' cannot keep its id 6"),
        ({"\ud800": 6}, "a token that UTF-8 cannot hold"),
        ({"很": -1}, "gives '很' a negative id"),
        ({"[PAD]": 6, "\ufeff": 0}, "cannot keep its id 0"),
    ],
)
def test_a_map_that_no_file_can_hold_is_refused(more, said):
    with pytest.raises(ValueError, match=said) as refusal:
        WordPiece({**GOOD, **more})
    assert "\n" not in str(refusal.value)


def test_a_vocabulary_in_another_encoding_is_named(tmp_path):
    for encoding, said in (("utf-16", "UTF-16"), ("gbk", "not UTF-8 .line 5.")):
        (tmp_path / "vocab.txt").write_text("[PAD]\n[CLS]\n[SEP]\n[UNK]\n好\n", encoding=encoding)
        with pytest.raises(ValueError, match=said):
            WordPiece.from_file(tmp_path / "vocab.txt")


def test_the_known_damage_of_the_published_vocabulary_is_refused(tmp_path):
    """A file of its shape, as a map in order of ids used to be written: without the first of the two `$`."""
    lines = [*HEAD, *(f"[unused{number}]" for number in range(39_976))]
    lines[12_084] = lines[18_005] = "$"
    lines[-1] = "[UNK]"
    (tmp_path / "vocab.txt").write_text("\n".join(lines) + "\n")
    whole = WordPiece.from_file(tmp_path / "vocab.txt")
    assert (whole.size, whole.unk_id, whole.vocab["$"]) == (39_980, 39_979, 18_005)
    by_order = sorted(whole.vocab, key=whole.vocab.get)
    (tmp_path / "vocab.txt").write_text("\n".join(by_order) + "\n")
    (tmp_path / "inference.json").write_text('{"task": "seq_cls", "labels": ["a", "b"]}')
    with pytest.raises(InputError, match="vocab.txt cannot be used .*a line `\\$` before line 12085") as refusal:
        load_task(tmp_path)
    assert "\n" not in str(refusal.value)
    by_order.insert(12_084, "$")  # as the message says
    (tmp_path / "vocab.txt").write_text("\n".join(by_order) + "\n")
    assert load_task(tmp_path).tokenizer.vocab == whole.vocab


# ---------------------------------------------------------------- folders


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """A tiny ERNIE with such a vocabulary, as PaddleNLP saves it."""
    folder = tmp_path_factory.mktemp("pretrained") / "ernie"
    save_model(folder, published_like())
    return folder


def save_model(folder, lines, vocab_size=None, tokenizer_class=ErnieTokenizer, **options):
    paddle.seed(5)
    config = ErnieConfig(
        vocab_size=vocab_size or len(lines),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        type_vocab_size=4,
    )
    ErnieForMaskedLM(config).save_pretrained(str(folder))
    (folder / "vocab.txt").write_bytes("".join(f"{line}\n" for line in lines).encode())
    tokenizer = tokenizer_class(str(folder / "vocab.txt"), **options)
    tokenizer.save_pretrained(str(folder))
    return tokenizer


def trainer_of(model, output_dir, *flags):
    argv = ["--task_name", "sample_reviews", "--model_name_or_path", str(model), "--output_dir", str(output_dir)]
    argv += ["--max_seq_length", "32", "--max_eval_samples", "8", "--device", "cpu", "--disable_tqdm", "1", *flags]
    return build_trainer(SEQ_CLS, *parse_arguments(SEQ_CLS, argv=argv))


def test_every_folder_gives_the_same_ids(pretrained, tmp_path):
    """Fine-tuned, loaded again, exported, compressed, converted for serving: all say what the first file says."""
    reference = ErnieTokenizer(str(pretrained / "vocab.txt"))
    texts = [TEXT, *corpus()[::3000]]
    ids = [reference.convert_tokens_to_ids(reference._tokenize(text)) for text in texts]
    ours = WordPiece.from_file(pretrained / "vocab.txt")
    behind = ours.lines.index("$")  # the first of the two, behind which ids used to move
    assert sum(any(behind < number < ours.unk_id for number in of_text) for of_text in ids) > len(texts) / 2

    model = tmp_path / "model"
    trainer = trainer_of(pretrained, model, "--max_train_samples", "8", "--max_steps", "1", "--do_train")
    trainer.finetune()
    trainer = trainer_of(model, model, "--do_export")
    trainer.export()
    trainer.save_best(tmp_path / "saved_again")
    ptq = CompressConfig(quantization_config=PTQConfig(algo_list=["abs_max"], batch_size_list=[4]))
    trainer.compress("sample_reviews", model / "compress", pruning=False, compress_config=ptq)
    convert(model / "compress" / "abs_max4" / "int8", tmp_path / "serving")
    static = (model / "export", model / "compress" / "inference", model / "compress" / "abs_max4", tmp_path / "serving")
    for folder in static:
        task = load_task(folder)
        assert [task.tokenizer.encode(text).ids for text in texts] == ids, folder
    for folder in (model, tmp_path / "saved_again"):
        again = AutoTokenizer.from_pretrained(str(folder))
        assert [again.convert_tokens_to_ids(again._tokenize(text)) for text in texts] == ids, folder
        assert [load_tokenizer(str(folder))[1].encode(text).ids for text in texts] == ids, folder


def test_case_is_what_the_models_tokenizer_says(tmp_path):
    save_model(tmp_path, [*HEAD, "[UNK]", "A", "a"], do_lower_case=False)
    _, wordpiece, lowercase = load_tokenizer(str(tmp_path))
    assert not lowercase and wordpiece.encode("A a").ids == [5, 6]


def test_a_vocabulary_without_mask_stays_as_it_is(tmp_path):
    """PaddleNLP gives [MASK] an id behind the others, and its map [UNK]'s: neither belongs into the file."""
    lines = ["[PAD]", "[CLS]", "[SEP]", "好", "[UNK]", "很"]
    save_model(tmp_path, lines)
    tokenizer, wordpiece, _ = load_tokenizer(str(tmp_path))
    assert tokenizer.mask_token_id is not None and wordpiece.lines == lines


def test_tokens_that_were_added_to_a_tokenizer_are_refused(tmp_path):
    lines = [*HEAD, "[UNK]", "很", "好"]
    tokenizer = save_model(tmp_path, lines, vocab_size=20)
    tokenizer.add_tokens(["很好", "云原生"])
    tokenizer.save_pretrained(str(tmp_path))
    with pytest.raises(InputError, match="the tokens 云原生, 很好 were added to its tokenizer") as refusal:
        load_tokenizer(str(tmp_path))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("option", ["tokenize_chinese_chars", "strip_accents"])
def test_a_tokenizer_that_splits_otherwise_is_refused(tmp_path, option):
    save_model(tmp_path, published_like(), tokenizer_class=BertTokenizer)
    load_tokenizer(str(tmp_path))
    save_model(tmp_path, published_like(), tokenizer_class=BertTokenizer, **{option: False})
    with pytest.raises(InputError, match="BertTokenizer splits text otherwise"):
        load_tokenizer(str(tmp_path))


def test_ids_beyond_the_embeddings_are_refused(pretrained, tmp_path):
    save_model(tmp_path / "small", published_like(), vocab_size=len(published_like()) - 1)
    with pytest.raises(InputError, match=f"has {len(published_like())} tokens, the model {len(published_like()) - 1}"):
        trainer_of(tmp_path / "small", tmp_path / "out", "--max_train_samples", "8", "--do_train")
