"""Classification of a text, or of a pair of texts."""

from typing import Any, Callable, Dict, List, Tuple

import numpy as np

from ernie_inference.answer_options import PLAIN, AnswerOptions
from ernie_inference.tasks.base import Encoded, Task, Window, finite, softmax
from ernie_inference.tasks.schemas import FLAG, SHARE, TEXT, TEXT_PAIR, array, nullable, one_of, one_of_names, record
from ernie_inference.wordpiece import Tokens


class SequenceClassification(Task):
    """Classify a text, or a pair of texts. Example: {"text": str, "text_pair": str or None}."""

    name = "seq_cls"
    fields = ("text", "text_pair")
    forms = 'a text, a pair of texts, or {"text": ..., "text_pair": ...}'
    input_schema = one_of(TEXT, TEXT_PAIR, record({"text": TEXT}, {"text_pair": nullable(TEXT)}))
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
        if "labels" in answer:
            given = [f"{each['label']} {each['confidence']:.4f}" for each in answer["labels"]]
            lines = [f"labels: {', '.join(given) or 'none'}{truncated}"]
        else:
            label = "none" if answer["label"] is None else answer["label"]
            lines = [f"label: {label}   confidence: {answer['confidence']:.4f}{truncated}"]
        lines += [f"    {each['label']}   {each['confidence']:.4f}" for each in answer.get("scores", [])]
        return ["seq cls result:", *lines]

    def encode(self, example: Dict) -> Encoded:
        """Cut to one window, of two texts the longer one until both fit ("longest_first")."""
        if example.get("text_pair") is None:
            return self._cut([], self.tokenizer.encode(example["text"], most=self.max_seq_length - 1))
        room = self.max_seq_length - 3
        first, second = (self.tokenizer.encode(example[name], most=room + 1) for name in ("text", "text_pair"))
        keep = max(room - len(second.ids), room // 2)
        kept = first.ids[:keep] or [self.tokenizer.unk_id]  # an empty first text is still a text
        return self._cut(kept, second, len(first.ids) > len(kept))

    def decode(
        self,
        example: Dict,
        windows: List[Window],
        outputs: List[Tuple[np.ndarray, ...]],
        options: AnswerOptions = PLAIN,
    ) -> Dict:
        """outputs: ((logits [num_labels],),). Returns {"label", "confidence" 0 to 1, "truncated"}.

        With top_k there is "scores" too, the likeliest labels: [{"label", "confidence"}], the first one the best. Below
        the threshold, the label is None; confidence, and scores, are what they are without it.
        """
        probabilities = self.pooled(lambda logits: softmax(logits / self.temperature), outputs, options)
        best = int(probabilities.argmax())
        confidence = float(probabilities[best])
        answer: Dict[str, Any] = {
            "label": None if options.drops(confidence) else self.labels[best],
            "confidence": confidence,
            "truncated": windows[0].truncated,
        }
        if options.top_k is not None:
            answer["scores"] = self._named(best_first(probabilities, options.top_k), probabilities)
        return answer

    def answer_schema(self) -> Dict[str, Any]:
        label = one_of_names(self.labels)
        scores = array(record({"label": label, "confidence": SHARE}))
        return record({"label": nullable(label), "confidence": SHARE, "truncated": FLAG}, {"scores": scores})

    def choices(self, window: Window, outputs: Tuple[np.ndarray, ...]) -> List[int]:
        return [int(outputs[0].argmax())]

    def pooled(
        self,
        to_probabilities: Callable[[np.ndarray], np.ndarray],
        outputs: List[Tuple[np.ndarray, ...]],
        options: AnswerOptions,
    ) -> np.ndarray:
        """The probability of each label for the text, [num_labels]; to_probabilities takes logits of that shape."""
        return to_probabilities(finite(outputs[0][0]))

    def _named(self, numbers: List[int], probabilities: np.ndarray) -> List[Dict[str, Any]]:
        """Labels by their numbers, with their probabilities."""
        return [{"label": self.labels[i], "confidence": float(probabilities[i])} for i in numbers]

    def _cut(self, first: List[int], text: Tokens, truncated: bool = False) -> Encoded:
        """An example of one window: as much of the text as has room there behind the first one, if there is one."""
        head = self._head(first)
        room = self.max_seq_length - len(head) - 1
        return Encoded(head, Tokens(*(numbers[:room] for numbers in text)), truncated or len(text.ids) > room)


def best_first(probabilities: np.ndarray, count: int) -> List[int]:
    """The numbers of the likeliest labels, as many as `count` or all of them."""
    return np.argsort(-probabilities, kind="stable")[:count].tolist()
