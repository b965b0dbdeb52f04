"""Classification of a text, or of a pair of texts."""

from typing import Any, Callable, Dict, List, Optional, Tuple

import numpy as np

from ernie_inference.answer_options import CUT, PLAIN, WINDOWS, WINDOWS_MAX, AnswerOptions
from ernie_inference.tasks.base import Encoded, Task, Window, finite, softmax
from ernie_inference.tasks.schemas import (
    COUNT,
    FLAG,
    SHARE,
    TEXT,
    TEXT_PAIR,
    array,
    nullable,
    one_of,
    one_of_names,
    record,
)
from ernie_inference.wordpiece import Tokens

# A text's probabilities [num_labels] from those of its windows [windows, num_labels]. The largest ones are not scaled
# to a sum of 1: each is what the window gave it in which the label is the most certain.
POOLING: Dict[str, Callable[[np.ndarray], np.ndarray]] = {
    CUT: lambda probabilities: probabilities[0],
    WINDOWS: lambda probabilities: probabilities.mean(axis=0),
    WINDOWS_MAX: lambda probabilities: probabilities.max(axis=0),
}


class SequenceClassification(Task):
    """Classify a text, or a pair of texts. Example: {"text": str, "text_pair": str or None}.

    What is longer than one window is cut, or read by windows: all of a single text; of a pair all of the second text,
    with the first one, or what has room of it in half a window, before each part.
    """

    name = "seq_cls"
    fields = ("text", "text_pair")
    forms = 'a text, a pair of texts, or {"text": ..., "text_pair": ...}'
    input_schema = one_of(TEXT, TEXT_PAIR, record({"text": TEXT}, {"text_pair": nullable(TEXT)}))
    cuts_long_texts = True
    sample_inputs = [
        "房间宽敞明亮，早餐也很丰富，下次出差还会住这里。",
        "等了一个小时才上菜，鱼还是凉的，不会再来了。",
    ]

    @classmethod
    def example_of(cls, given: Any) -> Dict:
        if isinstance(given, str):
            return {"text": given}
        is_pair = isinstance(given, (list, tuple)) and len(given) == 2
        return dict(zip(cls.fields, given)) if is_pair else {}

    @classmethod
    def is_example(cls, example: Dict) -> bool:
        return isinstance(example.get("text"), str) and isinstance(example.get("text_pair"), (str, type(None)))

    @classmethod
    def describe(cls, answer: Dict) -> List[str]:
        """A client of a service knows the task, and by the answer alone whether the model gives several labels."""
        truncated = "   (the text was truncated)" if answer["truncated"] else ""
        windows = f"   windows: {answer['windows']}" if "windows" in answer else ""
        if "labels" in answer:
            given = [f"{each['label']} {each['confidence']:.4f}" for each in answer["labels"]]
            lines = [f"labels: {', '.join(given) or 'none'}{windows}{truncated}"]
        else:
            label = "none" if answer["label"] is None else answer["label"]
            lines = [f"label: {label}   confidence: {answer['confidence']:.4f}{windows}{truncated}"]
        lines += [f"    {each['label']}   {each['confidence']:.4f}" for each in answer.get("scores", [])]
        return ["seq cls result:", *lines]

    def long_texts_for(self, options: AnswerOptions) -> Optional[str]:
        """What becomes of long texts, where anybody has said it: the options, or who trained the model."""
        return options.long_texts or self.long_texts

    def encode(self, example: Dict, options: AnswerOptions = PLAIN) -> Encoded:
        """All of the text, or what has room in one window: of two texts the longer one is cut until both fit
        ("longest_first")."""
        cuts = (self.long_texts_for(options) or CUT) == CUT
        if example.get("text_pair") is None:
            text = self.tokenizer.encode(example["text"], most=self.max_seq_length - 1 if cuts else None)
            return self._encoded([], text, cuts)
        room = self.max_seq_length - 3
        first = self.tokenizer.encode(example["text"], most=room + 1)
        second = self.tokenizer.encode(example["text_pair"], most=room + 1 if cuts else None)
        keep = max(room - len(second.ids), room // 2)
        kept = first.ids[:keep] or [self.tokenizer.unk_id]  # an empty first text is still a text
        return self._encoded(kept, second, cuts, len(first.ids) > len(kept))

    def decode(
        self,
        example: Dict,
        windows: List[Window],
        outputs: List[Tuple[np.ndarray, ...]],
        options: AnswerOptions = PLAIN,
    ) -> Dict:
        """outputs: one (logits [num_labels],) a window. Returns {"label", "confidence" 0 to 1, "truncated"}.

        With top_k there is "scores" too, the likeliest labels: [{"label", "confidence"}], the first one the best. Below
        the threshold, the label is None; confidence, and scores, are what they are without it. Where it was said what
        becomes of long texts, there is "windows" too: how many were answered.
        """
        unscaled = self.pooled(softmax, outputs, options)
        probabilities = unscaled if self.temperature == 1 else self._scaled(unscaled, outputs, options)
        best = int(unscaled.argmax())
        confidence = float(probabilities[best])
        answer: Dict[str, Any] = {
            "label": None if options.drops(confidence) else self.labels[best],
            "confidence": confidence,
            "truncated": windows[0].truncated,
        }
        if self.long_texts_for(options) is not None:
            answer["windows"] = len(windows)
        if options.top_k is not None:
            answer["scores"] = self._named(best_first(unscaled, options.top_k), probabilities)
        return answer

    def pooled(
        self,
        to_probabilities: Callable[[np.ndarray], np.ndarray],
        outputs: List[Tuple[np.ndarray, ...]],
        options: AnswerOptions,
    ) -> np.ndarray:
        """The probability of each label for the whole text, [num_labels].

        Args:
            to_probabilities: of logits [windows, num_labels] those of each window.
            outputs: one (logits [num_labels],) a window.
        """
        logits = finite(np.stack([of_window[0] for of_window in outputs]))
        return POOLING[self.long_texts_for(options) or CUT](to_probabilities(logits))

    def _scaled(
        self, probabilities: np.ndarray, outputs: List[Tuple[np.ndarray, ...]], options: AnswerOptions
    ) -> np.ndarray:
        """A text's probabilities [num_labels] at the temperature.

        Of one window that is the softmax of logits / temperature. What several windows give is pooled before it is
        scaled: if each were scaled by itself, another label could become the likeliest one. The largest ones are
        divided by the sum of the window that gives the likeliest label its own, which is then what it is there.
        """
        of_windows = np.stack([of_window[0] for of_window in outputs])
        if len(of_windows) == 1:
            return softmax(of_windows[0] / self.temperature)
        whole = probabilities
        if self.long_texts_for(options) == WINDOWS_MAX:
            of_windows = softmax(of_windows)
            whole = of_windows[of_windows[:, probabilities.argmax()].argmax()]
        with np.errstate(divide="ignore"):  # the logarithm of 0 is -inf, which becomes 0 again
            scaled, of_whole = np.log(probabilities) / self.temperature, np.log(whole) / self.temperature
        return np.exp(scaled - of_whole.max()) / np.exp(of_whole - of_whole.max()).sum()

    def answer_schema(self) -> Dict[str, Any]:
        label = one_of_names(self.labels)
        scores = array(record({"label": label, "confidence": SHARE}))
        required = {"label": nullable(label), "confidence": SHARE, "truncated": FLAG}
        return record(required, {"windows": COUNT, "scores": scores})

    def choices(self, window: Window, outputs: Tuple[np.ndarray, ...]) -> List[int]:
        return [int(outputs[0].argmax())]

    def _named(self, numbers: List[int], probabilities: np.ndarray) -> List[Dict[str, Any]]:
        """Labels by their numbers, with their probabilities."""
        return [{"label": self.labels[i], "confidence": float(probabilities[i])} for i in numbers]

    def _encoded(self, first: List[int], text: Tokens, cuts: bool, truncated: bool = False) -> Encoded:
        """An example: all of the text, or as much as has room in one window behind the first one, if there is one."""
        head = self._head(first)
        if not cuts:
            return Encoded(head, text, truncated)
        room = self.max_seq_length - len(head) - 1
        return Encoded(head, Tokens(*(numbers[:room] for numbers in text)), truncated or len(text.ids) > room)


def best_first(probabilities: np.ndarray, count: int) -> List[int]:
    """The numbers of the likeliest labels, as many as `count` or all of them."""
    return np.argsort(-probabilities, kind="stable")[:count].tolist()
