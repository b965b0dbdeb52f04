"""Reading comprehension: the answer to a question is a part of a text."""

from typing import Any, Dict, List, Sequence, Tuple

import numpy as np

from ernie_inference.tasks.base import Encoded, Task, Window, finite, windows_of_tokens

MAX_QUESTION_TOKENS = 64
MAX_ANSWER_TOKENS = 50


class QuestionAnswering(Task):
    """Find the answer to a question in a text. Example: {"question": str, "context": str}."""

    name = "qa"
    fields = ("question", "context")
    forms = 'a pair (question, context), or {"question": ..., "context": ...}'
    sample_inputs = [
        {"question": "大桥有多长？", "context": "这座跨海大桥于2018年通车，全长55公里，连接三座城市。"},
        {"question": "谁写了这本书？", "context": "《边城》是沈从文的中篇小说，写的是湘西小镇上一家人的故事。"},
    ]
    has_labels = False
    min_seq_length = 32

    @classmethod
    def example_of(cls, given: Any) -> Dict:
        is_pair = isinstance(given, (list, tuple)) and len(given) == 2
        return dict(zip(cls.fields, given)) if is_pair else {}

    @classmethod
    def is_example(cls, example: Dict) -> bool:
        return all(isinstance(example.get(name), str) for name in cls.fields)

    @classmethod
    def hint(cls, given: Any) -> str:
        return " (a single pair is given in a list)" if isinstance(given, str) else ""

    @classmethod
    def describe(cls, answer: Dict) -> List[str]:
        return ["qa result:", f"answer: {answer['answer']}   score: {answer['score']:.4f}   pos: {answer['pos']}"]

    def encode(self, example: Dict) -> Encoded:
        most = min(MAX_QUESTION_TOKENS, self.max_seq_length // 2)
        question = self.tokenizer.encode(example["question"], most).ids
        return Encoded(self._head(question or [self.tokenizer.unk_id]), self.tokenizer.encode(example["context"]))

    def decode(self, example: Dict, windows: List[Window], outputs: List[Tuple[np.ndarray, ...]]) -> Dict:
        """outputs: one (start_logits [seq_len], end_logits [seq_len]) a window.

        Returns {"answer", "score" 0 to 1, "pos" [first, last] character}: the span of at most
        MAX_ANSWER_TOKENS tokens with the highest start + end logit over all windows (BERT,
        Devlin et al. 2019, section 4.2); its score is softmax(start) * softmax(end), each over all
        tokens of the text. Where windows overlap, a token counts once there, as windows_of_tokens
        says, but the first and the last token of the answer as in the window in which it was found.
        """
        if not windows[0].starts:
            return {"answer": "", "score": 0.0, "pos": None}
        starts, ends = [], []
        for window, (start_logits, end_logits) in zip(windows, outputs):
            inside = slice(window.offset, window.offset + len(window.starts))
            starts.append(finite(np.asarray(start_logits[inside], dtype=np.float64)))
            ends.append(finite(np.asarray(end_logits[inside], dtype=np.float64)))
        spans = [_best_span(start, end) for start, end in zip(starts, ends)]
        number = max(range(len(windows)), key=lambda i: spans[i][0])
        logit, first, last = spans[number]
        read_from = windows_of_tokens(windows)
        log_total = sum(
            _log_sum_exp(_each_token_once(windows, logits, read_from, (number, chosen)))
            for logits, chosen in ((starts, first), (ends, last))
        )
        begin, end = windows[number].starts[first], windows[number].ends[last]
        return {
            "answer": example["context"][begin:end],
            "score": float(np.exp(logit - log_total)),
            "pos": [begin, end - 1],
        }


def _best_span(start: np.ndarray, end: np.ndarray) -> Tuple[float, int, int]:
    """(start + end logit, first token, last token) of the best span of a window's tokens."""
    scores = start[:, None] + end[None, :]
    allowed = np.triu(np.ones_like(scores, dtype=bool)) & ~np.triu(np.ones_like(scores, dtype=bool), MAX_ANSWER_TOKENS)
    first, last = divmod(int(np.where(allowed, scores, -np.inf).argmax()), len(end))
    return float(scores[first, last]), first, last


def _each_token_once(
    windows: Sequence[Window], logits: Sequence[np.ndarray], read_from: List[int], chosen: Tuple[int, int]
) -> np.ndarray:
    """A logit for each token of a text, from its window of `read_from`; that of `chosen` (window, token in it) from
    there, as a probability needs it: the chosen one must be among those it is compared with."""
    values = np.array([logits[number][i - windows[number].begin] for i, number in enumerate(read_from)])
    number, token = chosen
    values[windows[number].begin + token] = logits[number][token]
    return values


def _log_sum_exp(values: np.ndarray) -> float:
    top = values.max()
    return float(top + np.log(np.exp(values - top).sum()))
