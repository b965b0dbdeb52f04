"""The range of an activation that INT8 should cover, from a few calibration texts: six algorithms.

A threshold t means that [-t, t] becomes [-127, 127]; what lies outside is clipped. The formulas are
those of paddle.static.quantization.PostTrainingQuantization; two things differ. All algorithms and
all calibration sizes are served by two runs over the largest set, one for the ranges and one for the
histograms and errors. And every text is run alone, so no threshold depends on padding.
"""

from typing import Dict, List, NamedTuple, Sequence, Tuple

import numpy as np

BINS = 2048  # of the histograms of KL and hist
HIST_SHARE = 0.9999  # of the values that hist covers, as in PaddleNLP's Trainer.compress
LEVELS = 127  # of INT8 on each side of 0
# The clipping ranges that mse tries, as shares of the largest value.
MSE_SHARES = np.arange(30, 102, 2) / 100
SMALLEST_THRESHOLD = 1e-8  # for a tensor of zeros

SECOND_RUN = {"KL", "hist", "mse"}  # algorithms that need the ranges first


class Histogram(NamedTuple):
    """Counts of absolute values in BINS bins of equal width."""

    counts: np.ndarray
    bin_width: float


class ActivationStatistics:
    """What the algorithms need to know of one tensor, for several numbers of calibration texts at once.

    Call observe_range for every text in order, then, if an algorithm is in SECOND_RUN,
    observe_values for every text in the same order.

    Args:
        sizes: the numbers of texts n; the first n texts count for n.
        algorithms: those that will be asked for.
    """

    def __init__(self, sizes: Sequence[int], algorithms: Sequence[str]):
        self.sizes = sorted(set(sizes))
        self.algorithms = set(algorithms)
        self.smallest: List[float] = []  # absolute values, one a text
        self.largest: List[float] = []
        self.counts = {size: np.zeros(BINS, dtype=np.int64) for size in self.sizes}
        self.squared_errors = {size: np.zeros(len(MSE_SHARES)) for size in self.sizes}
        self.second_run_texts = 0

    def observe_range(self, values: np.ndarray) -> None:
        """values: the tensor for one text, of any shape."""
        magnitudes = np.abs(values)
        self.smallest.append(float(magnitudes.min()))
        self.largest.append(float(magnitudes.max()))

    def observe_values(self, values: np.ndarray) -> None:
        """values: the tensor for one text, of any shape."""
        magnitudes = np.abs(values).ravel()
        for size in self.sizes:
            if self.second_run_texts >= size:
                continue
            if self.algorithms & {"KL", "hist"}:
                # In float64, as the library's bin edges are; float32 ones would move some values by a bin.
                self.counts[size] += np.histogram(magnitudes.astype(np.float64), BINS, self._range(size))[0]
            if "mse" in self.algorithms:
                self.squared_errors[size] += quantization_errors(magnitudes, self._range(size)[1])
        self.second_run_texts += 1

    def threshold(self, algorithm: str, size: int) -> float:
        """The threshold by one of config.ALGORITHMS from the first `size` texts."""
        low, high = self._range(size)
        if algorithm in ("abs_max", "min_max"):
            # INT8 here is symmetric, so the range that holds [min, max] is that of the largest magnitude. (The
            # library's min_max only notes both in the program and quantizes nothing.)
            threshold = high
        elif algorithm == "avg":
            threshold = float(np.mean(self.largest[:size]))
        elif algorithm == "mse":
            threshold = float(MSE_SHARES[self.squared_errors[size].argmin()] * high)
        else:
            edges = np.histogram_bin_edges([], BINS, (low, high))
            histogram = Histogram(self.counts[size], float(edges[1] - edges[0]))
            threshold = hist_threshold(histogram) if algorithm == "hist" else kl_threshold(histogram)
        return max(threshold, SMALLEST_THRESHOLD)

    def _range(self, size: int) -> Tuple[float, float]:
        """The smallest and the largest absolute value in the first `size` texts."""
        return min(self.smallest[:size]), max(self.largest[:size])


def quantization_errors(magnitudes: np.ndarray, largest: float) -> np.ndarray:
    """The sum of squared errors of INT8 with each of MSE_SHARES * largest as the threshold."""
    if largest == 0:
        return np.zeros(len(MSE_SHARES))
    errors = []
    for threshold in MSE_SHARES * largest:
        step = np.float32(threshold / LEVELS)
        rounded = np.rint(np.minimum(magnitudes / step, np.float32(LEVELS)))
        rounded *= step
        rounded -= magnitudes
        errors.append(float(np.dot(rounded, rounded)))
    return np.array(errors)


def hist_threshold(histogram: Histogram) -> float:
    """The middle of the bin up to which HIST_SHARE of the values lie."""
    shares = np.cumsum(histogram.counts / histogram.counts.sum())
    index = int(np.argmax(shares >= HIST_SHARE))
    return (index + 0.5) * histogram.bin_width


def kl_threshold(histogram: Histogram) -> float:
    """The clipping range whose INT8 distribution has the smallest KL divergence from the histogram's.

    The search of TensorRT's calibration (Migacz 2017) as paddle.static.quantization.cal_kl_threshold
    does it, in array operations: the library takes seconds of Python loops for every tensor.
    """
    counts = histogram.counts.astype(np.float64)
    first = (BINS - 1) // 2
    total = counts.sum()
    tails = total - np.concatenate([[0.0], np.cumsum(counts)])  # tails[i]: values in bins from i on
    divergences = {
        end: _divergence(counts[:end], tails[end], total) for end in range(first, BINS) if counts[end - 1] > 0
    }
    if divergences:
        best = min(divergences, key=divergences.__getitem__)
    else:
        filled = np.flatnonzero(counts[: first + 1])
        best = int(filled[-1]) if len(filled) else 0
    return (best + 0.5) * histogram.bin_width


def _divergence(counts: np.ndarray, outliers: float, total: float) -> float:
    """KL(P || Q): P the counts with the outliers in the last bin, Q the same in LEVELS levels, without outliers."""
    width = len(counts) // LEVELS
    starts = np.arange(LEVELS) * width  # the last level takes the bins that are left over
    filled = counts > 0
    level_sums = np.add.reduceat(counts, starts)
    level_bins = np.add.reduceat(filled.astype(np.float64), starts)
    level_means = np.divide(level_sums, level_bins, out=np.zeros(LEVELS), where=level_bins > 0)
    widths = np.diff(np.append(starts, len(counts)))
    quantized = np.repeat(level_means, widths)[filled]
    reference = counts[filled]
    reference[-1] += outliers
    return float(np.sum(reference * np.log(quantized.sum() * reference / (total * quantized)))) / total


def all_thresholds(
    statistics: Dict[str, ActivationStatistics], algorithms: Sequence[str], sizes: Sequence[int]
) -> Dict[Tuple[str, int], Dict[str, float]]:
    """{(algorithm, size): {tensor name: threshold}} for the whole grid."""
    return {
        (algorithm, size): {name: tensor.threshold(algorithm, size) for name, tensor in statistics.items()}
        for algorithm in algorithms
        for size in sizes
    }
