"""Classification of a text, or of a pair of texts."""

from typing import Any, Dict, List, Tuple

import numpy as np

from ernie_inference.tasks.base import Encoded, Task, Window, finite, softmax
from ernie_inference.wordpiece import Tokens


class SequenceClassification(Task):
    """Classify a text, or a pair of texts. Example: {"text": str, "text_pair": str or None}."""

    name = "seq_cls"
    fields = ("text", "text_pair")
    forms = 'a text, a pair of texts, or {"text": ..., "text_pair": ...}'
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
        truncated = "   (the text was truncated)" if answer["truncated"] else ""
        return ["seq cls result:", f"label: {answer['label']}   confidence: {answer['confidence']:.4f}{truncated}"]

    def encode(self, example: Dict) -> Encoded:
        """Cut to one window, of two texts the longer one until both fit ("longest_first")."""
        if example.get("text_pair") is None:
            return Encoded(self._head(), self.tokenizer.encode(example["text"], most=self.max_seq_length - 2))
        room = self.max_seq_length - 3
        first, second = (self.tokenizer.encode(example[name], most=room) for name in ("text", "text_pair"))
        keep = max(room - len(second.ids), room // 2)
        kept = first.ids[:keep] or [self.tokenizer.unk_id]  # an empty first text is still a text
        return Encoded(self._head(kept), Tokens(*(numbers[: room - len(kept)] for numbers in second)))

    def decode(self, example: Dict, windows: List[Window], outputs: List[Tuple[np.ndarray, ...]]) -> Dict:
        """outputs: ((logits [num_labels],),). Returns {"label", "confidence" 0 to 1, "truncated"}."""
        probabilities = softmax(finite(outputs[0][0]))
        best = int(probabilities.argmax())
        return {
            "label": self.labels[best],
            "confidence": float(probabilities[best]),
            "truncated": self._is_truncated(example, windows[0]),
        }

    def choices(self, window: Window, outputs: Tuple[np.ndarray, ...]) -> List[int]:
        return [int(outputs[0].argmax())]

    def _is_truncated(self, example: Dict, window: Window) -> bool:
        if len(window.input_ids) < self.max_seq_length:
            return False
        tokens = self._count(example["text"]) + 2
        if example.get("text_pair") is not None:
            tokens = max(tokens, 3) + self._count(example["text_pair"]) + 1
        return tokens > self.max_seq_length

    def _count(self, text: str) -> int:
        """Tokens of a text, up to max_seq_length."""
        return len(self.tokenizer.encode(text, most=self.max_seq_length).ids)
