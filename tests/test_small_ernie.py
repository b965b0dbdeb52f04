"""The small ERNIE of the sample sets: what its structured heads look at before any training, and token dropout."""

from compression_fixtures import tiny_trainer  # isort: skip  (sets up paddle before it is imported)

import numpy as np
import paddle
import pytest
from conftest import run_script
from paddlenlp.transformers import ErnieModel

from make_small_ernie import NEIGHBOUR_OFFSETS
from wordpiece import WordPiece

HEADS, NEIGHBOUR_HEADS, MATCHING_HEADS = 8, 6, 2
QUESTION, CONTEXT = "哪里的天气好", "报上说上海昨天下雨，北京的天气很好。"


@pytest.fixture(scope="module")
def structured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("structured") / "ernie"
    heads = ("--neighbour_heads", NEIGHBOUR_HEADS, "--matching_heads", MATCHING_HEADS)
    run_script("make_small_ernie.py", "--num_hidden_layers", 1, *heads, "--output_dir", folder)
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
    done = run_script("make_small_ernie.py", *flags, check=False)
    assert done.returncode and "matching_heads 3" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "ernie").exists()


def test_token_dropout_masks_a_share_of_the_tokens_and_no_special_ones(tmp_path):
    trainer = tiny_trainer(tmp_path / "state", token_dropout=0.3)
    tokenizer = trainer.task.tokenizer
    special = [tokenizer.cls_id, tokenizer.sep_id, tokenizer.pad_id]
    input_ids = paddle.to_tensor([[*special[:1], *range(10, 60), *special[1:]]] * 40)
    dropped = trainer._drop_tokens(input_ids)
    masked = (dropped == tokenizer.vocab["[MASK]"]).numpy()
    assert 0.25 < masked[:, 1:51].mean() < 0.35 and not masked[:, [0, 51, 52]].any()
    assert np.array_equal(dropped.numpy()[~masked], input_ids.numpy()[~masked])
    trainer.args.token_dropout = 0.0
    assert trainer._drop_tokens(input_ids) is input_ids
