"""Sub-networks by budget: of each layer as many heads and neurons as fit the time, where they matter the most.

What heads, neurons and layers matter is measured without training (damage.py), and so is what they cost (latency.py).
The sub-network with the least damage within the time is then found exactly by dynamic programming; but damages do not
simply add up, so it is searched on around it, by the answers of whole sub-networks. Both steps are those of ZipLM
(Kurtic, Frantar and Alistarh, 2023, section 3), which has the search from SPDY (Frantar and Alistarh, "SPDY: Accurate
Pruning with Speedup Guarantees", 2022); they measure damage within each layer, and here it is that of the answers.

What was chosen is measured as it will be made, smoothed and quantized, but still untrained, so with the outlier neurons
that training will make; where it is not as fast as was asked for, the time is corrected by the error, and chosen anew.
"""

import copy
import random
from functools import cached_property
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Set, Tuple, Union

from ernie_suite.compression.config import PTQConfig, parse_speedup, speedup_name
from ernie_suite.compression.damage import Answers, Damage, measure_damage
from ernie_suite.compression.fresh_process import MEASURED_IN
from ernie_suite.compression.importance import Importance, order_by_importance
from ernie_suite.compression.int8_models import texts_digest
from ernie_suite.compression.latency import LatencyTable, SpeedTest, measure_latency, measured_numbers
from ernie_suite.compression.records import Exported, Records
from ernie_suite.compression.subnetworks import KeptLayer, SubNetwork, narrow_model
from ernie_suite.runs import deciding_settings, json_digest, read_json

import numpy as np
import paddle
from tqdm import tqdm

from ernie_inference.errors import InputError
from ernie_inference.files import write_json
from ernie_inference.processors import describe_processor, usable_processors

Layers = Tuple[KeptLayer, ...]

BUDGET_FILE = "budget.json"
CALIBRATION_TOKENS = 4096  # of training windows, by whose answers damage is measured
CALIBRATION_BATCH = 16
NEURON_STEPS = 16  # in so many steps the neurons of a layer are chosen; heads one by one
BUCKETS = 1000  # of time, in the dynamic programming
SPARE = 0.05  # of the time, may be left over
TRIALS = 40  # sub-networks whose answers are compared
SPREAD = 0.5  # standard deviation of the logarithm of a factor that is tried
CHANGED_SHARE = 0.3  # of the factors, in each trial
CLOSE = 0.03  # how far a speed-up may be from the one that was asked for without a correction
CORRECTIONS = 3  # at most
TOLERANCE = 0.1  # how far a speed-up may be from it at all


def choose(damage: Damage, table: LatencyTable, share: float, heads: int, neurons: int) -> Layers:
    """The sub-network with the least sum of damages of those that take a share of the original's time.

    No more than that, and, if there is such a one, no less than it without SPARE of the layers' part: what a damaged
    layer still does, which training makes good, is worth more than time that nobody asked to save.

    Args:
        heads, neurons: of a layer of the whole model.

    Returns:
        at least one layer; no layer where not even the smallest one fits.
    """
    options = Options(damage, table, share - table.rest, heads, neurons)
    least = np.full(BUCKETS + 1, np.inf)  # damage by the time that is taken
    least[0] = 0
    chosen = []
    for damages in options.damages:
        found = np.full((len(damages), BUCKETS + 1), np.inf)
        for row, cost, of_option in zip(found, options.costs, damages):
            if cost <= BUCKETS:
                row[cost:] = least[: BUCKETS + 1 - cost] + of_option
        chosen.append(found.argmin(axis=0))
        least = found.min(axis=0)
    lowest = round(BUCKETS * (1 - SPARE))
    taken = lowest + int(least[lowest:].argmin())
    if not np.isfinite(least[taken]):
        taken = int(np.flatnonzero(np.isfinite(least))[-1])
    layers: List[KeptLayer] = []
    for number in reversed(range(len(chosen))):
        option = chosen[number][taken]
        taken -= options.costs[option]
        kept = options.kept[option]
        if kept:
            layers.append(KeptLayer(number, *kept))
    return tuple(reversed(layers))


def neuron_numbers(neurons: int) -> List[int]:
    """The numbers of neurons that a layer with so many can keep, descending."""
    return list(range(neurons, 0, -max(1, neurons // NEURON_STEPS)))


class Options:
    """What each layer can keep, its cost in buckets of time, and its damage."""

    def __init__(self, damage: Damage, table: LatencyTable, seconds: float, heads: int, neurons: int):
        kept = [(h, n) for h in range(1, heads + 1) for n in neuron_numbers(neurons)]
        self.kept: List[Optional[Tuple[int, int]]] = [None, *kept]
        by_heads, by_neurons = (np.array(numbers) for numbers in zip(*kept))
        costs = np.ceil(table.layer(by_heads, by_neurons) / max(seconds, 1e-9) * BUCKETS)
        self.costs = np.concatenate([[0], np.maximum(costs, 1)]).astype(int)
        grids = measured_numbers(heads), measured_numbers(neurons)
        self.damages = np.array(
            [
                [dropped, *(np.interp(by_heads, grids[0], of_heads) + np.interp(by_neurons, grids[1], of_neurons))]
                for of_heads, of_neurons, dropped in zip(*damage)
            ]
        )


def search(
    damage: Damage, choice: Callable[[Damage], Layers], loss: Callable[[Layers], float], name: str, seed: int
) -> Layers:
    """The best by `loss` of the sub-networks that `choice` makes of damages whose parts are weighted in other ways.

    Each trial changes some of the factors with which the best sub-network so far was found.
    """
    generator = np.random.default_rng(seed)
    factors = np.ones((3, len(damage.dropped)))
    best = choice(damage)
    least, seen = loss(best), {best}
    for _ in tqdm(range(TRIALS), desc=f"search: {name}", leave=False):
        changed = generator.random(factors.shape) < CHANGED_SHARE
        tried = factors * np.exp(generator.normal(0, SPREAD, factors.shape) * changed)
        layers = choice(damage.scaled(tried))
        if layers in seen:
            continue
        seen.add(layers)
        found = loss(layers)
        if found < least:
            best, least, factors = layers, found, tried
    return best


# ---------------------------------------------------------------- the plan


class Choice(NamedTuple):
    """The sub-network for a target.

    Attributes:
        layers: what it keeps.
        predicted, measured: its speed-up by the table, and as it was measured.
        at_first: the one that was measured before the time was corrected; None where that choice stands.
    """

    layers: Layers
    predicted: float
    measured: float
    at_first: Optional[float] = None

    def error(self, target: float) -> float:
        """How far the speed-up is from a target, as a share of it."""
        return abs(self.measured / target - 1)


class Budgets:
    """The sub-networks for target speed-ups, measured and chosen once and then kept in BUDGET_FILE.

    Args:
        trainer: a trainer.FinetuneTrainer with the fine-tuned model.
        report_lengths: tokens of the windows of which the report compares the speed.
        records: of the folder of the compressed models.
        original: the exported FP32 model there.
        quantization: how the sub-networks will be quantized; None where FP32 models are to have the speed-up.
        importance: computes that of heads and neurons.
    """

    def __init__(
        self,
        trainer,
        report_lengths: Sequence[int],
        records: Records,
        original: Exported,
        quantization: Optional[PTQConfig],
        importance: Callable[[], Importance],
    ):
        self.trainer, self.report_lengths = trainer, report_lengths
        self.importance, self.fine_tuned = importance, records.fine_tuned
        self.file = records.folder / BUDGET_FILE
        self.original, self.quantization = records.folder / original.model, quantization
        self.anew = records.anew
        layers = trainer.model.base_model.encoder.layers
        self.layers, self.heads = len(layers), layers[0].self_attn.num_heads
        self.neurons = layers[0].linear1.weight.shape[1]

    @cached_property
    def content(self) -> Dict:
        """That of the file, by precision and then by name."""
        return {} if self.anew else read_json(self.file)

    @cached_property
    def test(self) -> SpeedTest:
        return SpeedTest(self.trainer, self.report_lengths, self.original, self.quantization)

    def networks(self, targets: Sequence[Union[float, str]]) -> List[SubNetwork]:
        """The sub-network of each target, in their order.

        Raises:
            InputError: a target that cannot be reached, or that the whole model exceeds.
        """
        if not targets:
            return []
        table, speedups = self.latency(), [parse_speedup(target) for target in targets]
        for speedup in speedups:
            self.check_reachable(speedup, table)
        return [SubNetwork(speedup_name(speedup), self.chosen(speedup, table).layers) for speedup in speedups]

    def latency(self) -> LatencyTable:
        """The table, as it was measured now or before under the same conditions."""
        conditions = {
            "processor": describe_processor(usable_processors()),
            "model": self._shape(),
            "quantization": self.test.quantization_speed,
            "batches": [list(batch) for batch in self.test.batches],
            "measured_in": MEASURED_IN,
        }

        def measured() -> Dict:
            shapes = ", ".join(f"{rows} x {tokens}" for rows, tokens in self.test.batches)
            print(f"what heads and neurons cost as {self.test.precision} is measured: batches of {shapes} tokens")
            return measure_latency(self.test, self.trainer.model).to_json()

        return LatencyTable.from_json(self._kept("latency", conditions, measured))

    def _shape(self) -> Dict:
        config = self.trainer.model.config
        names = ("hidden_size", "vocab_size", "hidden_act", "num_labels")
        shape = {"layers": self.layers, "heads": self.heads, "neurons": self.neurons}
        return {"class": type(self.trainer.model).__name__, **shape, **{name: getattr(config, name) for name in names}}

    def check_reachable(self, target: float, table: LatencyTable) -> None:
        smallest = 1 / table.network([KeptLayer(0, 1, neuron_numbers(self.neurons)[-1])])
        whole = 1 / table.network(self._whole())
        if not whole <= target * (1 + TOLERANCE) or target > smallest:
            raise InputError(
                f"target_speedup {target:g} cannot be reached: {self.test.precision} models made from this one run "
                f"{whole:.1f} (all layers whole) to {smallest:.1f} times (one layer with one head) as fast as it here"
            )

    def _whole(self) -> Layers:
        return tuple(KeptLayer(number, self.heads, self.neurons) for number in range(self.layers))

    def chosen(self, target: float, table: LatencyTable) -> Choice:
        """The choice for a target, made now or before from the same."""
        name = speedup_name(target)
        made_from = {
            **deciding_settings(self.trainer),
            "model": self.fine_tuned,
            "latency": json_digest(table.to_json()),
            "smoothing": texts_digest(self.test.smoothed_on),
        }
        kept = self._kept(name, {"made_from": json_digest(made_from)}, lambda: self._choose(target, table)._asdict())
        choice = Choice(**{**kept, "layers": tuple(KeptLayer(*layer) for layer in kept["layers"])})
        print(f"{name}: {describe(choice, self.layers)}")
        if choice.error(target) > TOLERANCE:
            print(f"{name}: no sub-network was found that is closer to {target:g} times")
        return choice

    def _kept(self, name: str, conditions: Dict, make: Callable[[], Dict]) -> Dict:
        """What was made under a name in this precision, now or before under the same conditions."""
        of_precision = self.content.setdefault(self.test.precision, {})
        if of_precision.get(name, {}).get("conditions") != conditions:
            of_precision[name] = {"conditions": conditions, "found": make()}
            write_json(self.file, self.content)
        return of_precision[name]["found"]

    def _choose(self, target: float, table: LatencyTable) -> Choice:
        least = table.network([KeptLayer(0, 1, neuron_numbers(self.neurons)[-1])])
        found = [self._search(target, table, 1 / target)]
        while found[-1].error(target) > CLOSE and len(found) <= CORRECTIONS:
            last = found[-1]
            found.append(self._search(target, table, max(least, last.measured / last.predicted / target)))
        best = min(found, key=lambda choice: choice.error(target))
        return best if best is found[0] else best._replace(at_first=found[0].measured)

    def _search(self, target: float, table: LatencyTable, share: float) -> Choice:
        """The choice of those that by the table take no more than a share of the original's time."""
        model, name = self.trainer.model, speedup_name(target)
        weights, answers, damage = self._searched

        def narrow(layers: Layers):
            return narrow_model(model, SubNetwork(name, layers), weights)

        layers = search(
            damage,
            lambda scaled: choose(scaled, table, share, self.heads, self.neurons),
            lambda layers: answers.divergence(narrow(layers)),
            name,
            self.trainer.args.seed,
        )
        measured = self.test.shares({name: narrow(layers)}, name, smoothed=True)[name]
        return Choice(layers, 1 / table.network(layers), 1 / measured)

    @cached_property
    def _searched(self) -> Tuple[Dict[str, paddle.Tensor], Answers, Damage]:
        """The weights with heads and neurons by importance, the whole model's answers, and what each part matters."""
        whole = copy.deepcopy(self.trainer.model)
        order_by_importance(whole, self.importance())
        answers = Answers(whole, calibration_batches(self.trainer), self.trainer.family.soft_criterion)
        return whole.state_dict(), answers, measure_damage(answers)


def calibration_batches(trainer) -> List[Dict]:
    """Training windows with about CALIBRATION_TOKENS together, drawn by the seed; each batch has windows of a length.

    The dev set judges the sub-networks later, so that it has no part in choosing them.
    """
    order = list(range(len(trainer.train_dataset)))
    random.Random(trainer.args.seed).shuffle(order)
    windows: List[Dict] = []
    tokens = 0
    for number in order:
        if tokens >= CALIBRATION_TOKENS:
            break
        windows.append(trainer.train_dataset[number])
        tokens += len(windows[-1]["input_ids"])
    windows.sort(key=lambda window: len(window["input_ids"]))
    return list(paddle.io.DataLoader(windows, batch_size=CALIBRATION_BATCH, collate_fn=trainer.data_collator))


def of_report(folder: Path, subnetworks: Set[str]) -> Dict:
    """What the report says of speed-ups: by precision the batches [rows, tokens] in which they were measured before the
    training, and of each sub-network among those of some names what was found, but for its layers, which its row has.
    """
    found: Dict = {}
    for precision, content in read_json(folder / BUDGET_FILE).items():
        choices = {
            name: {key: value for key, value in content[name]["found"].items() if key != "layers"}
            for name in sorted(subnetworks & set(content))
        }
        if choices:
            found[precision] = {"batches": content["latency"]["conditions"]["batches"], **choices}
    return {"budgets": found} if found else {}


def describe(choice: Choice, layers: int) -> str:
    """A choice in one line: what each of the layers of the whole model keeps, and how fast it is."""
    kept = {layer.index: layer for layer in choice.layers}
    heads, neurons = (
        " ".join(str(getattr(kept[number], name)) if number in kept else "-" for number in range(layers))
        for name in ("heads", "neurons")
    )
    line = f"heads {heads}, neurons {neurons} of the layers; {choice.measured:.2f} times as fast, untrained"
    return line if choice.at_first is None else f"{line} (the first choice {choice.at_first:.2f}: chosen anew)"
