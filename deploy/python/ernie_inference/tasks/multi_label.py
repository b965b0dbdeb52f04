"""Classification of a text, or of a pair of texts, that may have several labels, or none."""

from typing import Any, Dict, List, Sequence, Tuple

import numpy as np

from ernie_inference.answer_options import PLAIN, AnswerOptions
from ernie_inference.tasks.base import Window
from ernie_inference.tasks.schemas import COUNT, FLAG, SHARE, array, one_of_names, record
from ernie_inference.tasks.seq_cls import SequenceClassification, best_first
from ernie_inference.wordpiece import WordPiece

EVEN = 0.5  # the threshold of a label that none was fitted for


class MultiLabelClassification(SequenceClassification):
    """Give a text, or a pair of texts, each label whose probability reaches the label's threshold.

    A form of seq_cls: inputs, tokens and names are the same; a model is of this form where its inference.json has
    thresholds.

    Attributes:
        thresholds: from 0 to 1, of each label in the order of the labels; EVEN until they are fitted.
    """

    thresholds: List[float]

    def __init__(self, tokenizer: WordPiece, labels: Sequence[str], max_seq_length: int, doc_stride: int = 32):
        super().__init__(tokenizer, labels, max_seq_length, doc_stride)
        self.thresholds = [EVEN] * len(self.labels)

    def decode(
        self,
        example: Dict,
        windows: List[Window],
        outputs: List[Tuple[np.ndarray, ...]],
        options: AnswerOptions = PLAIN,
    ) -> Dict:
        """outputs: ((logits [num_labels],),). Returns {"labels", "truncated"}.

        "labels" is [{"label", "confidence" 0 to 1}] in the order of the model's labels; empty for a text without. The
        confidence is the sigmoid of the logit. A threshold takes the place of those of all labels. With top_k there is
        "scores" too, the likeliest labels in the same form, the first one the best, whatever the threshold.
        """
        probabilities = self.pooled(sigmoid, outputs, options)
        thresholds = self.thresholds if options.threshold is None else [options.threshold] * len(self.labels)
        given = [i for i, threshold in enumerate(thresholds) if probabilities[i] >= threshold]
        answer = {"labels": self._named(given, probabilities), "truncated": windows[0].truncated}
        if self.long_texts_for(options) is not None:
            answer["windows"] = len(windows)
        if options.top_k is not None:
            answer["scores"] = self._named(best_first(probabilities, options.top_k), probabilities)
        return answer

    def answer_schema(self) -> Dict[str, Any]:
        labels = array(record({"label": one_of_names(self.labels), "confidence": SHARE}))
        return record({"labels": labels, "truncated": FLAG}, {"windows": COUNT, "scores": labels})

    def choices(self, window: Window, outputs: Tuple[np.ndarray, ...]) -> List[int]:
        """One number for the whole set of labels: engines that agree give the same set."""
        given = sigmoid(outputs[0]) >= np.array(self.thresholds)
        return [sum(1 << i for i in np.flatnonzero(given).tolist())]


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Of each logit by itself, in float64."""
    return (1 + np.tanh(logits.astype(np.float64) / 2)) / 2
