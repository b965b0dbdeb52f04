"""Reading comprehension: the answer to a question is a part of a text."""

from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

import numpy as np

from ernie_inference.answer_options import PLAIN, AnswerOptions
from ernie_inference.tasks.base import Encoded, Task, Window, finite, windows_of_tokens
from ernie_inference.tasks.schemas import FLAG, SHARE, SPAN, TEXT, TEXT_PAIR, array, nullable, one_of, record

MAX_QUESTION_TOKENS = 64
MAX_ANSWER_TOKENS = 50


class Span(NamedTuple):
    """A part of a text: its first and last token, in one of the text's windows, and their start + end logit."""

    logit: float
    window: int
    first: int
    last: int


class ScoredSpan(NamedTuple):
    """An answer: its characters [begin, end), the logits of its first and its last token, and for both ends those of
    all tokens of the text, among which the chosen one is."""

    begin: int
    end: int
    chosen: Tuple[float, float]
    among: Tuple[np.ndarray, np.ndarray]

    def score(self, temperature: float) -> float:
        """softmax(start) * softmax(end), of the logits divided by the temperature."""
        log_total = sum(_log_sum_exp(logits / temperature) for logits in self.among)
        return float(np.exp(sum(self.chosen) / temperature - log_total))


class QuestionAnswering(Task):
    """Find the answer to a question in a text. Example: {"question": str, "context": str}."""

    name = "qa"
    fields = ("question", "context")
    forms = 'a pair (question, context), or {"question": ..., "context": ...}'
    input_schema = one_of(TEXT_PAIR, record({"question": TEXT, "context": TEXT}))
    sample_inputs = [
        {"question": "大桥有多长？", "context": "这座跨海大桥于2018年通车，全长55公里，连接三座城市。"},
        {"question": "谁写了这本书？", "context": "《边城》是沈从文的中篇小说，写的是湘西小镇上一家人的故事。"},
    ]
    has_labels = False
    most_answers = 20  # as many as BERT's n-best lists have; next to each other they differ by a token or two
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
        truncated = "   (the question was truncated)" if answer.get("truncated") else ""
        found = "none" if answer["answer"] is None else answer["answer"]
        lines = [f"answer: {found}   score: {answer['score']:.4f}   pos: {answer['pos']}{truncated}"]
        lines += [f"    {each['answer']}   {each['score']:.4f}   {each['pos']}" for each in answer.get("answers", [])]
        return ["qa result:", *lines]

    def encode(self, example: Dict, options: AnswerOptions = PLAIN) -> Encoded:
        most = min(MAX_QUESTION_TOKENS, self.max_seq_length // 2)
        question = self.tokenizer.encode(example["question"], most + 1).ids
        head = self._head(question[:most] or [self.tokenizer.unk_id])
        return Encoded(head, self.tokenizer.encode(example["context"]), truncated=len(question) > most)

    def answer_schema(self) -> Dict[str, Any]:
        found = record({"answer": TEXT, "score": SHARE, "pos": SPAN})
        best = {"answer": nullable(TEXT), "score": SHARE, "pos": nullable(SPAN)}
        return record(best, {"truncated": FLAG, "answers": array(found)})

    def choices(self, window: Window, outputs: Tuple[np.ndarray, ...]) -> List[int]:
        inside = slice(window.offset, window.offset + max(len(window.starts), 1))
        return [int(logits[inside].argmax()) for logits in outputs]

    def decode(
        self,
        example: Dict,
        windows: List[Window],
        outputs: List[Tuple[np.ndarray, ...]],
        options: AnswerOptions = PLAIN,
    ) -> Dict:
        """outputs: one (start_logits [seq_len], end_logits [seq_len]) a window.

        Returns {"answer", "score" 0 to 1, "pos" [first, last] character}: the span of at most
        MAX_ANSWER_TOKENS tokens with the highest start + end logit over all windows (BERT,
        Devlin et al. 2019, section 4.2); its score is softmax(start) * softmax(end), each over all
        tokens of the text. Where windows overlap, a token counts once there, as windows_of_tokens
        says, but the first and the last token of the answer as in the window in which it was found.

        With top_k there is "answers" too: the best spans [{"answer", "score", "pos"}], the first one the best; they may
        overlap. Below the threshold the answer is None, as is its position, and it is not among the answers. Where not
        all of the question was read, there is "truncated": True.
        """
        best = self._best(example, windows, outputs, options.top_k or 1)
        answer = dict(best[0]) if best else {"answer": "", "score": 0.0, "pos": None}
        if options.drops(answer["score"]):
            answer.update(answer=None, pos=None)
        if windows[0].truncated:
            answer["truncated"] = True
        if options.top_k is not None:
            answer["answers"] = [each for each in best if not options.drops(each["score"])]
        return answer

    def _best(
        self, example: Dict, windows: List[Window], outputs: List[Tuple[np.ndarray, ...]], count: int
    ) -> List[Dict]:
        """The `count` best answers, the best one first; none where there is no text."""
        return [
            {
                "answer": example["context"][span.begin : span.end],
                "score": span.score(self.temperature),
                "pos": [span.begin, span.end - 1],
            }
            for span in self.best_spans(windows, outputs, count)
        ]

    @staticmethod
    def best_spans(windows: List[Window], outputs: List[Tuple[np.ndarray, ...]], count: int) -> List[ScoredSpan]:
        """The `count` best answers, the best one first; none where there is no text."""
        if not windows[0].starts:
            return []
        starts, ends = [], []
        for window, (start_logits, end_logits) in zip(windows, outputs):
            inside = slice(window.offset, window.offset + len(window.starts))
            starts.append(finite(np.asarray(start_logits[inside], dtype=np.float64)))
            ends.append(finite(np.asarray(end_logits[inside], dtype=np.float64)))
        read_from = windows_of_tokens(windows)
        once = [_each_token_once(windows, logits, read_from) for logits in (starts, ends)]
        best: Dict[Tuple[int, int], ScoredSpan] = {}
        found = [
            span for number in range(len(windows)) for span in _best_spans(starts[number], ends[number], number, count)
        ]
        for span in sorted(found, key=lambda span: -span.logit):
            window = windows[span.window]
            tokens = (window.begin + span.first, window.begin + span.last)
            if tokens in best:  # found in another window with a higher logit
                continue
            chosen = (float(starts[span.window][span.first]), float(ends[span.window][span.last]))
            among = (_with(once[0], tokens[0], chosen[0]), _with(once[1], tokens[1], chosen[1]))
            best[tokens] = ScoredSpan(window.starts[span.first], window.ends[span.last], chosen, among)
            if len(best) == count:
                break
        return list(best.values())


def _best_spans(start: np.ndarray, end: np.ndarray, window: int, count: int) -> List[Span]:
    """The `count` best spans of a window's tokens, the best one first; of equal ones, the first in the text."""
    scores = start[:, None] + end[None, :]
    allowed = np.triu(np.ones_like(scores, dtype=bool)) & ~np.triu(np.ones_like(scores, dtype=bool), MAX_ANSWER_TOKENS)
    scores = np.where(allowed, scores, -np.inf).ravel()
    if count == 1:
        order = [int(scores.argmax())]
    else:
        count = min(count, int(allowed.sum()))
        at_least = np.flatnonzero(scores >= np.partition(scores, -count)[-count])
        order = at_least[np.argsort(-scores[at_least], kind="stable")][:count].tolist()
    return [Span(float(scores[i]), window, *divmod(i, len(end))) for i in order]


def _each_token_once(windows: Sequence[Window], logits: Sequence[np.ndarray], read_from: List[int]) -> np.ndarray:
    """A logit for each token of a text, from its window of `read_from`."""
    return np.array([logits[number][i - windows[number].begin] for i, number in enumerate(read_from)])


def _with(values: np.ndarray, token: int, logit: float) -> np.ndarray:
    """The values with one of them replaced, as a probability needs it: the chosen one must be among those that it is
    compared with."""
    values = values.copy()
    values[token] = logit
    return values


def _log_sum_exp(values: np.ndarray) -> float:
    top = values.max()
    return float(top + np.log(np.exp(values - top).sum()))
