"""What sub-networks there are, and models of their shapes."""

from ernie_suite.compression.config import DynabertConfig, parse_share
from ernie_suite.compression.subnetworks import (
    KeptLayer,
    SubNetwork,
    every_other,
    make_grid,
    narrow_model,
    shape_of,
    shares_of_name,
)
from ernie_suite.compression.supernet import Supernet

import numpy as np
import paddle
import pytest

from ernie_inference.errors import InputError
from tests.support.trainers import HEADS, HIDDEN, LAYERS, NEURONS, tiny_model

HALF = make_grid([1 / 2], [1], LAYERS * [(HEADS, NEURONS)])[0]


@pytest.mark.parametrize("given, value", [(0.75, 0.75), ("3/4", 0.75), ("0.5", 0.5), (1, 1.0)])
def test_shares_are_numbers_or_fractions(given, value):
    assert parse_share(given, "width") == value


@pytest.mark.parametrize("share", ["width", "depth"])
@pytest.mark.parametrize("wrong", [0, 1.5, -0.5, "0/4", "5/4", "x", "1/0", float("nan"), None])
def test_a_share_outside_0_to_1_is_refused(share, wrong):
    with pytest.raises(InputError, match=share):
        DynabertConfig(**{f"{share}_mult_list": [wrong]})


@pytest.mark.parametrize("layers_heads, width, kept", [(12, 3 / 4, 9), (12, 2 / 3, 8), (12, 0.667, 8), (16, 3 / 4, 12)])
def test_widths_keep_whole_heads(layers_heads, width, kept):
    (found,) = make_grid([width], [1], 2 * [(layers_heads, 3072)])
    assert found.layers == tuple((index, kept, 3072 * kept // layers_heads) for index in range(2))


@pytest.mark.parametrize("width, nearest", [(0.7, "8/12 or 9/12"), (0.01, "give 1/12"), (0.99, "11/12 or 12/12")])
def test_a_width_between_two_heads_names_the_nearest(width, nearest):
    with pytest.raises(InputError, match=nearest):
        make_grid([width], [1], [(12, 3072)])


@pytest.mark.parametrize(
    "layers, depth, kept",
    [
        (6, 1 / 2, [0, 2, 4]),
        (6, 2 / 3, [0, 1, 3, 4]),
        (12, 3 / 4, [0, 1, 2, 4, 5, 6, 8, 9, 10]),
        (12, 0.667, [0, 1, 3, 4, 6, 7, 9, 10]),
        (6, 1 / 6, [0]),
        (6, 1, [0, 1, 2, 3, 4, 5]),
    ],
)
def test_dropped_layers_lie_evenly(layers, depth, kept):
    (found,) = make_grid([1], [depth], layers * [(4, 64)])
    assert [layer.index for layer in found.layers] == kept == every_other(layers, len(kept))


def test_the_grid_is_every_width_with_every_depth():
    grid = make_grid([3 / 4, 1 / 2], [1, 1 / 2], 4 * [(4, 64)])
    assert [(each.name, each.width, each.depth) for each in grid] == [
        ("0.75", "0.75", None),
        ("0.5", "0.5", None),
        ("0.75x0.5", "0.75", "0.5"),
        ("0.5x0.5", "0.5", "0.5"),
    ]
    assert all(shares_of_name(each.name) == (each.width, each.depth) for each in grid)
    assert grid[-1].layers == (KeptLayer(0, 2, 32), KeptLayer(2, 2, 32))


def test_a_drop_order_says_which_layers_go():
    grid = make_grid([1], [3 / 4, 1 / 4], 4 * [(4, 64)], drop_order=[2, 0, 1, 3])
    assert [[layer.index for layer in each.layers] for each in grid] == [[0, 1, 3], [3]]


@pytest.mark.parametrize("name", ["hist16", "0.75x", "x0.5", "2", "", "speedup4", "0.75x0.5x0.5"])
def test_other_folders_say_no_shares(name):
    assert shares_of_name(name) == (None, None)


@pytest.mark.parametrize(
    "depths, message",
    [
        ([0.1], "depth 0.1 keeps 0.6 of 6 layers, which is no whole number: give 1/6"),
        ([0.4], "keeps 2.4 of 6 layers, which is no whole number: give 2/6 or 3/6"),
        ([1 / 3, 0.334], "depth_mult_list names 0.33 twice: give each once"),
    ],
)
def test_a_depth_that_cannot_be_is_refused(depths, message):
    with pytest.raises(InputError, match=message):
        make_grid([1], depths, 6 * [(4, 64)])


def test_parameters_are_what_the_width_says(trainer, importance):
    narrow = narrow_model(trainer.model, HALF, Supernet(trainer.model, importance).weights())
    inner = HALF.layers[0].heads * HIDDEN // HEADS
    gone_heads = (HIDDEN - inner) * (4 * HIDDEN + 3)
    gone_neurons = (NEURONS - HALF.layers[0].neurons) * (2 * HIDDEN + 1)
    count = [sum(p.size for p in model.parameters()) for model in (trainer.model, narrow)]
    assert count[0] - count[1] == LAYERS * (gone_heads + gone_neurons)


UNEVEN = SubNetwork("uneven", (KeptLayer(1, 3, 40), KeptLayer(2, 1, 64), KeptLayer(3, 4, 1)))


@pytest.mark.parametrize("architecture", ["Ernie", "Bert", "Roberta", "Electra"])
def test_a_model_of_a_sub_network_has_its_layers_alone(architecture):
    model = tiny_model(architecture, "ForSequenceClassification", 50, 2, 0.0, 3, layers=4)
    narrow = narrow_model(model, UNEVEN, model.state_dict())
    assert shape_of(narrow) == [(3, 40), (1, 64), (4, 1)] and narrow.config.num_hidden_layers == 3
    assert len(shape_of(model)) == model.config.num_hidden_layers == 4, "the whole one has changed"
    for layer, kept in zip(narrow.base_model.encoder.layers, UNEVEN.layers):
        original = model.base_model.encoder.layers[kept.index]
        inner = kept.heads * HIDDEN // HEADS
        assert np.array_equal(layer.linear1.weight, original.linear1.weight[:, : kept.neurons])
        assert np.array_equal(layer.linear2.weight, original.linear2.weight[: kept.neurons])
        assert np.array_equal(layer.self_attn.out_proj.weight, original.self_attn.out_proj.weight[:inner])
        assert np.array_equal(layer.norm2.weight, original.norm2.weight)


def test_whole_layers_compute_what_they_did():
    """Those that are left, one after another."""
    model = tiny_model("Ernie", "ForSequenceClassification", 50, 2, 0.0, 3, layers=4)
    (half,) = make_grid([1], [1 / 2], shape_of(model), drop_order=[1, 2, 0, 3])
    narrow = narrow_model(model, half, model.state_dict())
    narrow.eval()
    ids = paddle.to_tensor([[1, 7, 8, 2]])
    hidden = model.ernie.embeddings(input_ids=ids, token_type_ids=paddle.zeros_like(ids))
    for index in (0, 3):
        hidden = model.ernie.encoder.layers[index](hidden)
    expected = model.classifier(model.ernie.pooler(hidden)).numpy()
    assert np.allclose(narrow(input_ids=ids, token_type_ids=paddle.zeros_like(ids)).numpy(), expected, atol=1e-5)
