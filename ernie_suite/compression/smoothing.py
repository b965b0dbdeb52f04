"""An FP32 model rewritten, with the same answers, so that INT8 holds on it.

Really pretrained models have outliers: a few channels of an activation are ten times as large as the others, and one
scale for all leaves those few of 127 levels. Three rewritings take them away before anything is quantized:

Shift. Outliers lie to one side of 0. z, the middle of each channel's range, is taken from the activation where it is
    made (a LayerNorm's bias) and given back in the bias of each product that reads it, which becomes z @ W more. The
    residual branch reads it too: there the bias of the layer whose output is added gives z back. (The shift is that of
    Outlier Suppression+, Wei et al. 2023; that the residual's share fits into a bias is what makes it free here.) An
    attention's weights sum to 1, so a shift of its result goes into the bias of its values.
Scale. Each channel is divided by s, and the rows of the weights that read it are multiplied with it (SmoothQuant, Xiao
    et al. 2022), s = max|x|^a / max|W|^(1 - a), a searched for the smallest error of the quantized products. s goes
    into LayerNorm's weight and bias, or into the weight and bias of the attention's values. The residual branch needs
    one multiplication more, so there it has to pay: see WORTH_AN_OPERATOR.
Outlier neurons. What goes through GELU can be neither shifted nor scaled. The few neurons of a feed-forward network
    that are far above all others are computed beside it, in a network of their own that stays in FP32, and are 0 in it.
"""

from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from ernie_suite.compression.graph import Graph, Linear

import numpy as np
from paddle import static
from tqdm import tqdm

from ernie_inference.engines.static_program import LoadedProgram, loaded_program

LEVELS = 127  # of INT8 on each side of 0
SMALLEST = 1e-8
TEXTS = 32  # that are looked at: with 4 or 8 the ranges of channels are not yet known
ROWS = 1024  # of an activation, from all texts, that the search computes with
STRENGTHS = np.arange(1, 10) / 10  # those of a that are tried
OUTLIER_NEURONS = 4  # of a feed-forward network
WORTH_AN_OPERATOR = 0.5  # the share of the squared error that may be left where inference has to compute more
OUTLIERS = ".outliers"  # ends the names of weights that stay in FP32


class Observed(NamedTuple):
    """An activation on calibration texts.

    Attributes:
        low, high: of each channel over all tokens, float32 [channels].
        rows: a sample of tokens, float32 [at most ROWS, channels], the first and the last of each text among them.
    """

    low: np.ndarray
    high: np.ndarray
    rows: np.ndarray


class Fold(NamedTuple):
    """An activation that can be shifted and scaled, and the parameters into which that goes.

    Attributes:
        columns: those that make it, whose last axis are its channels; the last of them is a bias.
        linears: those that read it.
        sums: the residual branch's additions, each with the layer whose output is added there.
    """

    activation: str
    columns: List[str]
    linears: List[Linear]
    sums: List[Tuple[Any, Linear]]


@contextmanager
def prepared(prefix: Path, texts: Sequence[Dict], smoothing: bool, outliers_everywhere: bool = False) -> Iterator[Path]:
    """The prefix of the model to quantize: that of a smoothed one, which is there within the block, or the same."""
    if not smoothing:
        yield prefix
        return
    with TemporaryDirectory() as folder:
        smooth(prefix, texts, Path(folder) / "smoothed", outliers_everywhere)
        yield Path(folder) / "smoothed"


def smooth(
    prefix: Path, texts: Sequence[Dict], target: Path, outliers_everywhere: bool = False
) -> Dict[str, np.ndarray]:
    """Write an FP32 model with the same answers whose activations are easier to quantize, as TARGET.pdmodel.

    Args:
        texts: features with input_ids and token_type_ids.
        outliers_everywhere: keep outlier neurons in FP32 in every feed-forward network, worth their time or not.

    Returns:
        a sample of each activation of the new model that a product with a weight reads, float32 [tokens, channels].
    """
    with loaded_program(prefix) as model:
        graph = Graph(model)
        names = list(dict.fromkeys(product.input("X")[0] for product in graph.products()))
        observed = observe(model, names, texts)
        rows = {name: seen.rows for name, seen in observed.items()}
        for fold in find_folds(graph):
            seen = observed[fold.activation]
            shift = (seen.low + seen.high) / 2
            centred = seen.rows - shift
            scale = find_scale(centred, [graph.values(linear.weight) for linear in fold.linears], bool(fold.sums))
            apply(graph, fold, shift, scale)
            rows[fold.activation] = centred / scale
        for first, second, added in feed_forwards(graph):
            kept = find_outliers(rows[second.activation], graph.values(second.weight), outliers_everywhere)
            if not kept.all():
                move_outliers(graph, first, second, added, np.flatnonzero(~kept))
                rows[second.activation] = rows[second.activation] * kept
        block = graph.block
        feeds = [block.var(name) for name in model.feeds]
        fetches = [block.var(variable.name) for variable in model.fetches]
        static.save_inference_model(str(target), feeds, fetches, model.executor, program=model.program)
        return rows


def observe(model: LoadedProgram, names: List[str], texts: Sequence[Dict]) -> Dict[str, Observed]:
    """What the activations are on some texts, each run alone."""
    seen: Dict[str, List[Observed]] = {name: [] for name in names}
    for text in tqdm(texts, desc="calibration: channels", leave=False):
        feed = {name: np.asarray([text[name]], dtype=np.int64) for name in model.feeds}
        runs = model.executor.run(model.program, feed=feed, fetch_list=names, scope=model.scope)
        for name, values in zip(names, runs):
            tokens = values.reshape(-1, values.shape[-1])
            sample = np.linspace(0, len(tokens) - 1, min(len(tokens), max(2, ROWS // len(texts)))).astype(int)
            seen[name].append(Observed(tokens.min(axis=0), tokens.max(axis=0), tokens[sample]))
    return {
        name: Observed(
            np.min([each.low for each in of_texts], axis=0),
            np.max([each.high for each in of_texts], axis=0),
            np.concatenate([each.rows for each in of_texts]),
        )
        for name, of_texts in seen.items()
    }


# ---------------------------------------------------------------- quantized products


def to_levels(values: np.ndarray, threshold: float) -> np.ndarray:
    """What INT8 makes of some values, as floats."""
    step = np.float32(max(threshold, SMALLEST) / LEVELS)
    return np.clip(np.rint(values / step), -LEVELS, LEVELS) * step


def product_error(rows: np.ndarray, weights: Sequence[np.ndarray]) -> float:
    """The squared error of the products of an activation with weights with one scale each and nothing cut off."""
    quantized = to_levels(rows, float(np.abs(rows).max()))
    error = 0.0
    for weight in weights:
        difference = quantized @ to_levels(weight, float(np.abs(weight).max())) - rows @ weight
        error += float(np.vdot(difference, difference))
    return error


# ---------------------------------------------------------------- shift and scale


def find_folds(graph: Graph) -> List[Fold]:
    """The activations whose makers and readers all can take a shift and a scale."""
    linears = graph.linears()
    by_output = {linear.output: linear for linear in linears}
    read_by: Dict[str, List[Linear]] = {}
    for linear in linears:
        read_by.setdefault(linear.activation, []).append(linear)
    folds = []
    for activation, of_activation in read_by.items():
        columns = columns_of(graph, activation, by_output)
        sums = []
        for op in graph.readers[activation]:
            branch = by_output.get(other_input(op, activation))
            if branch is not None and graph.only_reader(branch.output) is op:
                sums.append((op, branch))
        if columns and len(of_activation) + len(sums) == len(graph.readers[activation]):
            folds.append(Fold(activation, columns, of_activation, sums))
    return folds


def other_input(op, name: str) -> str:
    """What an elementwise addition adds to a tensor; "" where that is no other tensor, or the operator another."""
    others = [other for other in op.input_arg_names if other != name]
    return others[0] if op.type == "elementwise_add" and others else ""


def columns_of(graph: Graph, activation: str, linears: Dict[str, Linear]) -> List[str]:
    """Fold.columns of an activation; none where it is made by something that cannot be shifted and scaled."""
    maker = graph.makers.get(activation)
    if maker is not None and maker.type == "layer_norm":
        parameters = [maker.input("Scale")[0], maker.input("Bias")[0]]
        return parameters if all(graph.only_reader(name) for name in parameters) else []
    linear = linears.get(values_of_attention(graph, activation) or activation)
    return [linear.weight, linear.bias] if linear else []


def values_of_attention(graph: Graph, context: str) -> Optional[str]:
    """The values of which an attention's result is the average, if that is what an activation is."""
    name = context
    for kind, slot in (
        *(("reshape2", "X"), ("transpose2", "X"), ("matmul_v2", "Y")),
        *(("transpose2", "X"), ("reshape2", "X")),
    ):
        maker = graph.makers.get(name)
        if maker is None or maker.type != kind:
            return None
        if kind == "matmul_v2" and getattr(graph.makers.get(maker.input("X")[0]), "type", "") != "softmax":
            return None
        name = maker.input(slot)[0]
        if graph.only_reader(name) is None:
            return None
    return name


def find_scale(rows: np.ndarray, weights: List[np.ndarray], takes_an_operator: bool) -> np.ndarray:
    """The s of each channel whose quantized products have the smallest error; ones where it is not worth it."""
    ones = np.ones(rows.shape[1], dtype=np.float32)
    largest = np.maximum(np.abs(rows).max(axis=0), SMALLEST)
    largest_weight = np.maximum(np.max([np.abs(weight).max(axis=1) for weight in weights], axis=0), SMALLEST)
    least = product_error(rows, weights) * (WORTH_AN_OPERATOR if takes_an_operator else 1.0)
    best = ones
    for strength in STRENGTHS:
        scale = largest**strength / largest_weight ** (1 - strength)
        scale = (scale / np.exp(np.log(scale).mean())).astype(np.float32)
        error = product_error(rows / scale, [weight * scale[:, None] for weight in weights])
        if error < least:
            least, best = error, scale
    return best


def apply(graph: Graph, fold: Fold, shift: np.ndarray, scale: np.ndarray) -> None:
    """Make (activation - shift) / scale of an activation, and let what reads it know."""
    graph.store(fold.columns[-1], graph.values(fold.columns[-1]) - shift)
    for name in fold.columns:
        graph.store(name, graph.values(name) / scale)
    for linear in fold.linears:
        weight = graph.values(linear.weight)
        graph.store(linear.bias, graph.values(linear.bias) + shift @ weight)
        graph.store(linear.weight, weight * scale[:, None])
    for op, branch in fold.sums:
        graph.store(branch.bias, graph.values(branch.bias) + shift)
        if (scale != 1).any():
            name = fold.activation
            factors = graph.add_parameter(f"{name}.scales", scale)
            unscaled = graph.insert_before(op, "elementwise_mul", [name, factors], f"{name}.unscaled", len(scale))
            op._rename_input(name, unscaled)


# ---------------------------------------------------------------- outlier neurons


def feed_forwards(graph: Graph) -> List[Tuple[Linear, Linear, Any]]:
    """(first layer, second layer, the addition of the result to the residual branch) of each feed-forward network."""
    linears = graph.linears()
    by_output = {linear.output: linear for linear in linears}
    found = []
    for second in linears:
        gelu, added = graph.makers.get(second.activation), graph.only_reader(second.output)
        if gelu is None or gelu.type != "gelu" or added is None or added.type != "elementwise_add":
            continue
        first = by_output.get(gelu.input("X")[0])
        alone = graph.only_reader(second.activation) and first is not None and graph.only_reader(first.output)
        if first is not None and alone:
            found.append((first, second, added))
    return found


def find_outliers(rows: np.ndarray, weight: np.ndarray, outliers_everywhere: bool = False) -> np.ndarray:
    """False for the neurons that should stay in FP32, else True; bool [neurons].

    Args:
        outliers_everywhere: name some, worth their time or not.
    """
    activations, weights = np.abs(rows).max(axis=0), np.abs(weight).max(axis=1)
    above = np.maximum(activations / _quadratic_mean(activations), weights / _quadratic_mean(weights))
    kept = np.ones(len(above), dtype=bool)
    kept[np.argsort(-above, kind="stable")[:OUTLIER_NEURONS]] = False
    left = product_error(rows * kept, [weight * kept[:, None]])
    worth_it = outliers_everywhere or left < WORTH_AN_OPERATOR * product_error(rows, [weight])
    return kept if worth_it else np.ones_like(kept)


def has_outliers(prefix: Path) -> bool:
    """Whether a smoothed model keeps outlier neurons of some feed-forward network in FP32."""
    with loaded_program(prefix) as model:
        return any(name.endswith(OUTLIERS) for name in model.program.global_block().vars)


def _quadratic_mean(values: np.ndarray) -> float:
    return max(float(np.sqrt(np.mean(np.square(values)))), SMALLEST)


def move_outliers(graph: Graph, first: Linear, second: Linear, added, neurons: np.ndarray) -> None:
    """Compute some neurons of a feed-forward network in one of their own, whose result goes into the residual branch.

    Its weights are transposed and its second bias stays where it was: of a product with a plain weight and a bias
    Paddle makes an "fc", and quantizes every fc whose activation has a scale for another product. A product with a
    transposed weight stays a matmul, into which oneDNN takes the bias, or the residual branch.
    """
    weight, bias, second_weight = (graph.values(name) for name in (first.weight, first.bias, second.weight))
    inner = graph.add_parameter(f"{first.weight}{OUTLIERS}", weight[:, neurons].T)
    offset = graph.add_parameter(f"{first.bias}{OUTLIERS}", bias[neurons])
    outer = graph.add_parameter(f"{second.weight}{OUTLIERS}", second_weight[neurons].T)
    weight[:, neurons], bias[neurons], second_weight[neurons] = 0, 0, 0
    for parameter, values in ((first.weight, weight), (first.bias, bias), (second.weight, second_weight)):
        graph.store(parameter, values)

    residual = other_input(added, second.output)
    whole, few = second_weight.shape[1], len(neurons)
    tensor = f"{second.activation}{OUTLIERS}"
    transposed = {"trans_x": False, "trans_y": True}
    product = graph.insert_before(added, "matmul_v2", [first.activation, inner], f"{tensor}.product", few, **transposed)
    total = graph.insert_before(added, "elementwise_add", [product, offset], f"{tensor}.sum", few, axis=-1)
    approximate = graph.makers[second.activation].attr("approximate")
    gelu = graph.insert_before(added, "gelu", [total], f"{tensor}.gelu", few, approximate=approximate)
    result = graph.insert_before(added, "matmul_v2", [gelu, outer], f"{tensor}.result", whole, **transposed)
    new = graph.insert_before(added, "elementwise_add", [residual, result], f"{tensor}.residual", whole)
    added._rename_input(residual, new)
