"""What a sub-network of a fine-tuned model is, and the grid of widths and depths."""

import copy
import itertools
from contextlib import contextmanager
from typing import Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from ernie_suite.compression.config import parse_share

import paddle
from paddle import nn

from ernie_inference.errors import InputError

# 0.667 typed for 2/3 of 12 heads means 8 of them.
TOLERANCE = 0.02
DEPTH = "x"


class KeptLayer(NamedTuple):
    """A layer of the fine-tuned model and what it keeps.

    Attributes:
        index: of the layer, counted from 0 in the fine-tuned model.
        heads, neurons: how many of its attention heads and of its feed-forward neurons, the most important ones.
    """

    index: int  # type: ignore[assignment]
    heads: int
    neurons: int


class SubNetwork(NamedTuple):
    """A part of a fine-tuned model that is a model itself.

    Attributes:
        name: its folder's.
        layers: those it keeps, in the order in which they run.
        width, depth: the shares of each layer and of the layers, as texts, where it is one of the grid; else None.
            Width alone is the grid's default: then depth is None.
    """

    name: str
    layers: Tuple[KeptLayer, ...]
    width: Optional[str] = None
    depth: Optional[str] = None


def whole_part(share: float, count: int, what: str, things: str) -> int:
    """How many of `count` things a share is: 9 of 12 heads for 3/4.

    Raises:
        InputError: no whole number of them, or none.
    """
    kept = round(share * count)
    if kept == 0 or abs(share * count - kept) > TOLERANCE:
        below = int(share * count)
        nearest = " or ".join(f"{n}/{count}" for n in (below, below + 1) if 0 < n <= count)
        amount = f"{share * count:.4g} of {count} {things}"
        raise InputError(f"{what} {share:.4g} keeps {amount}, which is no whole number: give {nearest}")
    return kept


def make_grid(
    width_mult_list: Sequence[float],
    depth_mult_list: Sequence[float],
    shape: Sequence[Tuple[int, int]],
    drop_order: Optional[Sequence[int]] = None,
) -> List[SubNetwork]:
    """Every width with every depth, the widths of the first depth first.

    Args:
        width_mult_list, depth_mult_list: shares of heads and neurons, and of layers, above 0 and up to 1.
        shape: (heads, neurons) of each layer of the fine-tuned model; see shape_of.
        drop_order: the indices of the layers in the order in which they are dropped; None for every_other.

    Raises:
        InputError: a share keeps no whole number of heads or of layers, or two sub-networks would share a folder.
    """
    heads, neurons = shape[0]
    widths: Dict[str, Tuple[int, int]] = {}
    for mult in width_mult_list:
        kept = whole_part(mult, heads, "width", "heads")
        _add_once(widths, "width_mult_list", str(round(kept / heads, 2)), (kept, round(neurons * kept / heads)))
    depths: Dict[str, List[int]] = {}
    for mult in depth_mult_list:
        kept = whole_part(mult, len(shape), "depth", "layers")
        indices = every_other(len(shape), kept) if drop_order is None else sorted(drop_order[len(shape) - kept :])
        _add_once(depths, "depth_mult_list", str(round(kept / len(shape), 2)), indices)
    grid = []
    for (depth, indices), (width, of_layer) in itertools.product(depths.items(), widths.items()):
        layers = tuple(KeptLayer(index, *of_layer) for index in indices)
        whole = len(indices) == len(shape)
        name = width if whole else f"{width}{DEPTH}{depth}"
        grid.append(SubNetwork(name, layers, width, None if whole else depth))
    return grid


def shares_of_name(name: str) -> Tuple[Optional[str], Optional[str]]:
    """(width, depth) of the sub-network of the grid that a folder is called after; None for what it does not say."""
    width, mark, depth = name.partition(DEPTH)
    try:
        for share in (width, depth) if mark else (width,):
            parse_share(share, "share")
    except InputError:
        return None, None
    return width, depth if mark else None


def _add_once(shares: Dict, list_name: str, name: str, value) -> None:
    if name in shares:
        raise InputError(f"{list_name} names {name} twice: give each once")
    shares[name] = value


def every_other(layers: int, kept: int) -> List[int]:
    """The layers that DynaBERT's implementation keeps: those that are dropped lie evenly, the last layer among them."""
    return [number * layers // kept for number in range(kept)]


def shape_of(model) -> List[Tuple[int, int]]:
    """(heads, neurons) of each layer of a model of paddlenlp.transformers."""
    return [(layer.self_attn.num_heads, layer.linear1.weight.shape[1]) for layer in model.base_model.encoder.layers]


@contextmanager
def keeping_layers(model, indices: Iterable[int]) -> Iterator[None]:
    """Within the block a model of paddlenlp.transformers has some of its layers alone."""
    encoder = model.base_model.encoder
    layers = encoder.layers
    encoder.layers = nn.LayerList([layers[index] for index in indices])
    try:
        yield
    finally:
        encoder.layers = layers


def narrow_model(model, subnetwork: SubNetwork, weights: Dict[str, paddle.Tensor]):
    """A model like `model` that has the layers and the shapes of a sub-network, with the leading part of `weights`.

    Nothing else is left in it: it is what is evaluated and exported.

    Args:
        model: of paddlenlp.transformers, with a task head; not changed.
        weights: of the whole model, by its names; the most important heads and neurons of each layer come first.
    """
    narrow = copy.deepcopy(model)
    encoder = narrow.base_model.encoder
    encoder.layers = nn.LayerList([encoder.layers[kept.index] for kept in subnetwork.layers])
    encoder.num_layers = narrow.config.num_hidden_layers = len(subnetwork.layers)
    prefix = f"{narrow.base_model_prefix}.encoder.layers."
    for layer, kept in zip(encoder.layers, subnetwork.layers):
        attention = layer.self_attn
        hidden, inner = attention.embed_dim, kept.heads * attention.head_dim
        attention.num_heads = kept.heads
        attention.q_proj, attention.k_proj, attention.v_proj = (nn.Linear(hidden, inner) for _ in range(3))
        attention.out_proj = nn.Linear(inner, hidden)
        layer.linear1, layer.linear2 = nn.Linear(hidden, kept.neurons), nn.Linear(kept.neurons, hidden)
    for name, parameter in narrow.state_dict().items():
        if name.startswith(prefix):
            number, _, rest = name[len(prefix) :].partition(".")
            name = f"{prefix}{subnetwork.layers[int(number)].index}.{rest}"
        parameter.set_value(weights[name][tuple(slice(size) for size in parameter.shape)])
    return narrow
