"""From text to answer with an exported model: what a task means, and (below) the predictor that answers with it.

    predictor = load_predictor("best_models/TNEWS/export/model", precision="fp32", num_threads=2)
    predictor.predict(["今天股市大涨", "国足又输了"])

A task object turns an example into model inputs (windows of at most max_seq_length tokens) and the
model's logits back into an answer whose positions are character positions of the text that came in.
Training, evaluation, infer.py, ONNX Runtime and Serving all go through these objects, so an answer
is the same wherever it is asked for; which engine computes the logits (engine.py) makes no difference.
Nothing here imports the trainer.
"""

import json
import math
import threading
from bisect import bisect_right
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np

from engine import EngineConfig, OnnxEngine, PaddleEngine, check_length, load_engine
from model_files import InputError, find_model
from text_files import read_text
from text_output import to_json
from wordpiece import Tokens, WordPiece, is_word, without_dropped

INFERENCE_FILE = "inference.json"
VOCAB_FILE = "vocab.txt"
MAX_QUESTION_TOKENS = 64
MAX_ANSWER_TOKENS = 50


class Window(NamedTuple):
    """One model input: [CLS] text [SEP], or [CLS] first [SEP] text [SEP].

    `starts` and `ends` are the character spans of the text's tokens that are in this window; they
    stand at input_ids[offset : offset + len(starts)]. `begin` is the number of the first of them
    among all tokens of the text.
    """

    input_ids: List[int]
    token_type_ids: List[int]
    offset: int
    begin: int
    starts: List[int]
    ends: List[int]


class Encoded(NamedTuple):
    """An example as tokens: what stands before the text in each window ([CLS], or [CLS] first [SEP]), and the text."""

    head: List[int]
    tokens: Tokens


@dataclass
class InferenceConfig:
    """What export writes beside a model (inference.json), so that nothing downstream has to be told again."""

    task: str
    labels: List[str] = field(default_factory=list)
    max_seq_length: int = 128
    doc_stride: int = 32
    lowercase: bool = True
    dataset: str = ""
    versions: Dict[str, str] = field(default_factory=dict)

    def save(self, folder) -> None:
        (Path(folder) / INFERENCE_FILE).write_bytes(to_json(asdict(self), indent=2) + b"\n")

    @classmethod
    def load(cls, folder) -> "InferenceConfig":
        path = Path(folder) / INFERENCE_FILE
        try:
            text = read_text(path)
        except FileNotFoundError:
            raise InputError(f"{path} is missing: export the model with --do_export, which writes it") from None
        try:
            config = cls(**json.loads(text))
            config.check()
        except (TypeError, ValueError, RecursionError) as error:
            raise InputError(f"{path} is not what export writes ({error}): export the model again") from None
        return config

    def check(self) -> None:
        """Raises ValueError where a value is not of its kind."""
        if self.task not in list(TASKS):
            raise ValueError(f"task is {self.task!r}, not one of {', '.join(TASKS)}")
        if not isinstance(self.labels, list) or not all(isinstance(label, str) for label in self.labels):
            raise ValueError("labels is not a list of names")
        if len(self.labels) < 2 and self.task != QuestionAnswering.name:
            raise ValueError(f"labels holds {len(self.labels)} names")
        for name in ("max_seq_length", "doc_stride"):
            if type(getattr(self, name)) is not int or getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)!r}, not a number of tokens")


def softmax(logits: np.ndarray) -> np.ndarray:
    """Softmax over the last axis, in float64."""
    exp = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return exp / exp.sum(axis=-1, keepdims=True)


def finite(logits: np.ndarray) -> np.ndarray:
    """The logits themselves.

    Raises:
        InputError: they hold NaN or infinity, of which no answer can be made.
    """
    if not np.isfinite(logits).all():
        raise InputError(
            "the model computed NaN or infinite logits: its training diverged, its weights are damaged, or fp16 or "
            "bf16 is too narrow for them (try fp32)"
        )
    return logits


def windows_of_tokens(windows: Sequence["Window"]) -> List[int]:
    """For each token of a text the number of the window to read it from: the one in which it has the most context
    on its poorer side, the first of those that are equal."""
    best: List[Tuple[int, int]] = []  # a token's context and window
    for number, window in enumerate(windows):
        count = len(window.starts)
        for i in range(count):
            context, token = min(i, count - 1 - i), window.begin + i
            if token == len(best):
                best.append((context, number))
            elif context > best[token][0]:
                best[token] = (context, number)
    return [number for _, number in best]


class Task:
    """A task family. Subclasses say how an example becomes tokens and how logits become an answer.

    Args:
        tokenizer: splits text into tokens with character positions.
        labels: the classes in the order of the model's outputs (empty for reading).
        max_seq_length: the most tokens of one window, special tokens included.
        doc_stride: tokens that neighbouring windows of a long text share.
    """

    name = ""
    min_seq_length = 8

    def __init__(self, tokenizer: WordPiece, labels: Sequence[str], max_seq_length: int, doc_stride: int = 32):
        if max_seq_length < self.min_seq_length:
            raise InputError(
                f"max_seq_length {max_seq_length} leaves no room for text: give at least {self.min_seq_length}"
            )
        self.tokenizer = tokenizer
        self.labels = list(labels)
        self.max_seq_length = max_seq_length
        self.doc_stride = doc_stride

    def windows(self, example: Dict) -> List[Window]:
        """The model inputs of one example: at least one, also for an empty text."""
        encoded = self.encode(example)
        return [self._window(encoded, part) for part in self.parts(len(encoded.head), len(encoded.tokens.ids))]

    def encode(self, example: Dict) -> Encoded:
        """The tokens of one example, as many as its windows need."""
        raise NotImplementedError

    def decode(self, example: Dict, windows: List[Window], outputs: List[Tuple[np.ndarray, ...]]) -> Dict:
        """The answer to one example, from the model's outputs for each of its windows (one tuple a window).

        Raises:
            InputError: the logits that decide it hold NaN or infinity.
        """
        raise NotImplementedError

    def parts(self, head: int, tokens: int) -> List[range]:
        """Which tokens of the text are in each window, for so many tokens of head and text; windows overlap."""
        room = self.max_seq_length - head - 1
        step = max(room - min(self.doc_stride, room // 2), 1)  # a head may leave no room, for a text without tokens
        last = max(tokens - room, 0)
        return [range(begin, min(begin + room, tokens)) for begin in range(0, last + step, step)]

    def _window(self, encoded: Encoded, part: range) -> Window:
        """[CLS] (first [SEP]) text [SEP], with the tokens of `part` of the text."""
        head, inside = encoded.head, slice(part.start, part.stop)
        return Window(
            input_ids=[*head, *encoded.tokens.ids[inside], self.tokenizer.sep_id],
            token_type_ids=token_types(len(head), len(part)),
            offset=len(head),
            begin=part.start,
            starts=encoded.tokens.starts[inside],
            ends=encoded.tokens.ends[inside],
        )

    def _head(self, first: List[int] = []) -> List[int]:  # noqa: B006
        return [self.tokenizer.cls_id, *first, self.tokenizer.sep_id] if first else [self.tokenizer.cls_id]


def token_types(head: int, tokens: int) -> List[int]:
    """token_type_ids of a window: all 0 for one text, 1 for the second of two and its [SEP]."""
    return [0] * head + [1 if head > 1 else 0] * (tokens + 1)


class SequenceClassification(Task):
    """Classify a text, or a pair of texts. Example: {"text": str, "text_pair": str or None}."""

    name = "seq_cls"

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


class TokenClassification(Task):
    """Tag entities. Example: {"text": str}, or {"tokens": [str, ...]} as MSRA NER has it.

    Labels are in the BIO scheme. Positions are of what came in: characters of a text, or numbers of
    tokens in a list; both ends belong to the entity, so a text's entity is text[start : end + 1].
    Each token of a list has one tag. A type that has no I- label is thus for lists: in a text, every
    piece of `3.5%` can be an entity by itself.
    """

    name = "token_cls"

    def encode(self, example: Dict) -> Encoded:
        return Encoded(self._head(), self.tokenizer.encode(text_of(example)))

    def tags(self, windows: List[Window], outputs: List[Tuple[np.ndarray, ...]]) -> List[Tuple[str, int, int]]:
        """One (label, start, end) a token of the whole text.

        Where windows overlap, a token is read from one of them, as windows_of_tokens says.
        """
        picks = [
            finite(logits[window.offset : window.offset + len(window.starts)]).argmax(axis=-1)
            for window, (logits,) in zip(windows, outputs)
        ]
        tags = []
        for token, number in enumerate(windows_of_tokens(windows)):
            window = windows[number]
            i = token - window.begin
            tags.append((self.labels[int(picks[number][i])], window.starts[i], window.ends[i]))
        return tags

    def decode(self, example: Dict, windows: List[Window], outputs: List[Tuple[np.ndarray, ...]]) -> Dict:
        """outputs: one (logits [seq_len, num_labels],) a window. Returns {"entities": [{"entity", "label", "pos"}]}."""
        text, to_input = text_and_positions(example)
        tags = self.tags(windows, outputs)
        if "text" not in example:
            tags = first_of_each(tags, to_input)
        entities = []
        for label, start, end in bio_spans(tags):
            pos = [to_input(start), to_input(end - 1)]
            entities.append({"entity": text[start:end], "label": label, "pos": pos})
        return {"entities": entities}


class QuestionAnswering(Task):
    """Find the answer to a question in a text. Example: {"question": str, "context": str}."""

    name = "qa"
    min_seq_length = 32

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


TASKS = {task.name: task for task in (SequenceClassification, TokenClassification, QuestionAnswering)}


def bio_spans(tags: Sequence[Tuple[str, int, int]]) -> List[Tuple[str, int, int]]:
    """Entities (label, start, end) from (tag, start, end) a token, in the BIO scheme as conlleval reads it.

    An I- tag that does not continue an entity of its own type begins one.
    """
    spans: List[Tuple[str, int, int]] = []
    previous = "O"
    for tag, start, end in tags:
        prefix, _, label = tag.partition("-")
        if prefix in ("B", "I"):
            if prefix == "I" and previous == label:
                spans[-1] = (label, spans[-1][1], end)
            else:
                spans.append((label, start, end))
        previous = label if prefix in ("B", "I") else "O"
    return spans


def first_of_each(tags: Sequence[Tuple[str, int, int]], owner: Callable[[int], int]) -> List[Tuple[str, int, int]]:
    """One (tag, start, end) for each token of a list, of those a model token; owner(start) is the list token's number.

    Where several model tokens begin in one list token, the first one's tag counts for all of it (Devlin et al. 2019,
    section 5.3); in training the others may have none, see utils.tagging_targets.
    """
    firsts: List[Tuple[str, int, int]] = []
    previous = None
    for tag, start, end in tags:
        number = owner(start)
        if number == previous:
            firsts[-1] = (*firsts[-1][:2], end)
        else:
            firsts.append((tag, start, end))
        previous = number
    return firsts


def join_tokens(tokens: Sequence[str]) -> Tuple[str, List[int]]:
    """The text of a token list, and where each token starts in it.

    Tokens of which the tokenizer would make one word get a space between them, but for single characters: those stand
    together, as MSRA NER has Chinese characters, and the letters and digits of one word, one a token.
    """
    parts: List[str] = []
    starts: List[int] = []
    length = 0
    last, last_is_single = "", True  # character that the tokenizer sees, and whether it is a token by itself
    for token in tokens:
        seen, is_single = without_dropped(token), len(token) == 1
        if seen and last and not (last_is_single and is_single) and is_word(last) and is_word(seen[0]):
            parts.append(" ")
            length += 1
        if seen:
            last, last_is_single = seen[-1], is_single
        starts.append(length)
        parts.append(token)
        length += len(token)
    return "".join(parts), starts


def text_of(example: Dict) -> str:
    """The text of a tagging example, which holds either a text or a token list."""
    return example["text"] if "text" in example else join_tokens(example["tokens"])[0]


def text_and_positions(example: Dict) -> Tuple[str, Callable[[int], int]]:
    """text_of(example), and a function from a character of it to the position in what came in."""
    if "text" in example:
        return example["text"], lambda position: position
    text, starts = join_tokens(example["tokens"])
    return text, lambda position: bisect_right(starts, position) - 1


def load_task(
    folder: Union[str, Path], max_seq_length: Optional[int] = None, vocab_file: Optional[Union[str, Path]] = None
) -> Task:
    """The task of an exported model, from the inference.json and vocab.txt beside it.

    Raises:
        InputError: a file is missing or is not what export writes.
    """
    config = InferenceConfig.load(folder)
    path = Path(vocab_file or Path(folder) / VOCAB_FILE)
    try:
        tokenizer = WordPiece.from_file(path, config.lowercase)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be used as the vocabulary ({error}): export the model again") from None
    length = config.max_seq_length if max_seq_length is None else max_seq_length
    return TASKS[config.task](tokenizer, config.labels, length, config.doc_stride)


Prepared = Tuple[Dict, List[Window]]  # an example and its windows


class ErniePredictor:
    """Answers texts with an engine, as a task says.

    One predictor may be shared by threads: each thread that calls it gets its own clone of the
    engine, which shares the weights. What an input is, for
    seq_cls: a text, a pair (text, text_pair), or {"text", "text_pair"};
    token_cls: a text, a list of tokens, or {"text"} or {"tokens"};
    qa: a pair (question, context), or {"question", "context"}.
    """

    # Texts are read, and sorted by length, this many batches at a time: enough that hardly any
    # padding is left, and the memory needed does not depend on how many texts there are.
    batches_ahead = 16

    def __init__(self, engine: Union[PaddleEngine, OnnxEngine], task: Task):
        self.task = task
        self._engine = engine
        self._engines = threading.local()
        self._engines.own = engine
        self._cloning = threading.Lock()
        self._check_match()

    @property
    def engine(self) -> Union[PaddleEngine, OnnxEngine]:
        """This thread's engine."""
        if not hasattr(self._engines, "own"):
            with self._cloning:
                self._engines.own = self._engine.clone()
        return self._engines.own

    def predict(self, inputs: Union[Iterable[Any], str, Dict], batch_size: Optional[int] = None) -> List[Dict]:
        """The answers to all inputs, in their order. Task.decode says what an answer holds.

        Args:
            inputs: any number of inputs. A single str or dict is one input, and gets a list of one answer; a list or
                tuple is always several, so one pair or one list of tokens stands in a list: [(question, context)].
            batch_size: windows a run; by default what the engine was made for (EngineConfig.batch_size).

        Raises:
            InputError: an input is not what the task takes, or the model computed no numbers.
        """
        return list(self.predict_iter(inputs, batch_size))

    def predict_iter(self, inputs: Union[Iterable[Any], str, Dict], batch_size: Optional[int] = None) -> Iterator[Dict]:
        """Like predict, for any number of inputs: reads them as it goes and holds only a few batches.

        The next inputs are read and tokenized in a second thread while the engine runs.
        """
        batch_size = self._allowed(batch_size)
        groups = self._prepare(as_inputs(inputs), batch_size * self.batches_ahead)
        with ThreadPoolExecutor(max_workers=1) as tokenizing:
            group = next(groups, None)
            while group is not None:
                following = tokenizing.submit(next, groups, None)
                yield from self._answers(group, batch_size)
                group = following.result()

    def run_windows(
        self, windows: Sequence[Window], batch_size: Optional[int] = None, sort: bool = True
    ) -> List[Tuple]:
        """The model's outputs for each window, in the order of `windows`.

        Outputs for each token go on after the window's own with those of the batch's padding.

        Args:
            windows: of any number and length.
            batch_size: windows a run; by default what the engine was made for.
            sort: batch windows of like length, the longest first, and only as many as are worth their padding.
                Without it, batches are filled in order.
        """
        batch_size = self._allowed(batch_size)
        order = list(range(len(windows)))
        if sort:
            order.sort(key=lambda i: -len(windows[i].input_ids))
        lengths = [len(windows[i].input_ids) for i in order]
        ends = batch_ends(lengths, batch_size, self.engine.config.run_overhead_tokens if sort else math.inf)
        outputs: List[Tuple] = [()] * len(windows)
        for begin, end in zip([0, *ends], ends):
            numbers = order[begin:end]
            logits = self.engine.run(*self.pad([windows[i] for i in numbers]))
            for row, i in enumerate(numbers):
                outputs[i] = tuple(output[row] for output in logits)
        return outputs

    def pad(self, windows: Sequence[Window]) -> Tuple[np.ndarray, np.ndarray]:
        """input_ids and token_type_ids of a batch for the engine, int64 [batch, seq_len]."""
        length = self.engine.padded_length(max(len(window.input_ids) for window in windows))
        return pad(windows, self.task.tokenizer.pad_id, length)

    def _allowed(self, batch_size: Optional[int]) -> int:
        """The batch size to use for the one that was asked for."""
        config = self._engine.config
        if batch_size is None:
            return config.batch_size
        if batch_size < 1:
            raise InputError(f"batch_size is {batch_size}: give a number from 1 on")
        if config.is_tensorrt and batch_size > config.batch_size:
            raise InputError(
                f"batch_size is {batch_size}, but TensorRT was prepared for {config.batch_size}: "
                "load the model with the larger batch_size"
            )
        return batch_size

    def _prepare(self, inputs: Iterable[Any], most_windows: int) -> Iterator[List[Prepared]]:
        """Groups of prepared inputs with about `most_windows` windows together."""
        group: List[Prepared] = []
        count = 0
        for number, given in enumerate(inputs, start=1):
            example = as_example(self.task.name, given, f"input {number}")
            group.append((example, self.task.windows(example)))
            count += len(group[-1][1])
            if count >= most_windows:
                yield group
                group, count = [], 0
        if group:
            yield group

    def _answers(self, group: List[Prepared], batch_size: int) -> Iterator[Dict]:
        outputs = iter(self.run_windows([window for _, windows in group for window in windows], batch_size))
        for example, windows in group:
            yield self.task.decode(example, windows, [next(outputs) for _ in windows])

    def _check_match(self) -> None:
        """The files beside a model must belong to it."""
        info, task = self._engine.info, self.task
        where = f"beside {self._engine.prefix}"
        tokens = max(task.tokenizer.vocab.values()) + 1
        if info.vocab_size is not None and tokens > info.vocab_size:
            raise InputError(f"{VOCAB_FILE} {where} has {tokens} tokens, the model {info.vocab_size}: not its own file")
        check_length(task.max_seq_length, info)
        longest = self._engine.config.max_seq_length
        if self._engine.config.is_tensorrt and task.max_seq_length > longest:
            raise InputError(
                f"max_seq_length is {task.max_seq_length}, but TensorRT was prepared for {longest} tokens: "
                "load the model with the larger max_seq_length"
            )
        if task.labels and info.num_labels not in (None, -1, len(task.labels)):
            raise InputError(
                f"{INFERENCE_FILE} {where} names {len(task.labels)} labels, the model has {info.num_labels}: "
                "not its own file"
            )


def batch_ends(lengths: Sequence[int], batch_size: int, run_overhead: float) -> List[int]:
    """Where to cut windows into batches: the end of each batch.

    A batch that ends because of its padding, or with the last window, has a round number of rows, so that an engine
    that keeps something for every shape it has seen does not see too many.

    Args:
        lengths: tokens of each window, in the order in which they will run; the first of a batch is its longest.
        batch_size: the most windows of a batch.
        run_overhead: what one more run costs, in tokens; padding that costs more than that is not worth it.
    """
    ends: List[int] = []
    begin = 0
    while begin < len(lengths):
        end, padding = begin, 0
        while end < min(begin + batch_size, len(lengths)) and padding + lengths[begin] - lengths[end] <= run_overhead:
            padding += lengths[begin] - lengths[end]
            end += 1
        begin = end if end - begin == batch_size or run_overhead == math.inf else begin + round_down(end - begin)
        ends.append(begin)
    return ends


def round_down(rows: int) -> int:
    """1, 2, 3, 4, 6, 8, 12, 16, 24 ...: a number's two highest binary digits."""
    rest = max(rows.bit_length() - 2, 0)
    return rows >> rest << rest


def pad(windows: Sequence[Window], pad_id: int, length: int) -> Tuple[np.ndarray, np.ndarray]:
    """input_ids and token_type_ids of a batch, int64 [batch, length]."""
    input_ids = np.full((len(windows), length), pad_id, dtype=np.int64)
    token_type_ids = np.zeros_like(input_ids)
    for row, window in enumerate(windows):
        input_ids[row, : len(window.input_ids)] = window.input_ids
        token_type_ids[row, : len(window.token_type_ids)] = window.token_type_ids
    return input_ids, token_type_ids


# The fields that an input of each task must and may have; the first form is what a plain input fills.
INPUT_FIELDS = {"seq_cls": ("text", "text_pair"), "token_cls": ("text",), "qa": ("question", "context")}


def as_inputs(inputs: Union[Iterable[Any], str, Dict]) -> Iterable[Any]:
    """What ErniePredictor.predict was given as several inputs: a text or a dict is one.

    Raises:
        InputError: it is neither one input nor several.
    """
    if isinstance(inputs, (str, dict)):
        return [inputs]
    if isinstance(inputs, (bytes, bytearray)) or not isinstance(inputs, Iterable):
        raise InputError(f"the inputs are of the type {type(inputs).__name__}: give a text, or a list of inputs")
    return inputs


def as_example(task_name: str, given: Any, where: str) -> Dict:
    """One input in any form that ErniePredictor takes, as the example that a Task takes.

    Raises:
        InputError: it is none of these forms; the message begins with `where` it came from.
    """
    fields = INPUT_FIELDS[task_name]
    if isinstance(given, str):
        example = {fields[0]: given}
    elif isinstance(given, dict):
        example = given
    elif task_name == "token_cls" and isinstance(given, (list, tuple)):
        example = {"tokens": given}
    elif isinstance(given, (list, tuple)) and len(given) == len(fields):
        example = dict(zip(fields, given))
    else:
        example = {}
    if not _is_valid(task_name, example):
        forms = {
            "seq_cls": 'a text, a pair of texts, or {"text": ..., "text_pair": ...}',
            "token_cls": 'a text, a list of tokens, or {"text": ...} or {"tokens": [...]}',
            "qa": 'a pair (question, context), or {"question": ..., "context": ...}',
        }
        alone = " (a single pair is given in a list)" if task_name == "qa" and isinstance(given, str) else ""
        raise InputError(f"{where} is not {forms[task_name]}{alone}")
    return example


def _is_valid(task_name: str, example: Dict) -> bool:
    if task_name == "token_cls" and "text" not in example:
        tokens = example.get("tokens")
        return isinstance(tokens, (list, tuple)) and all(isinstance(token, str) for token in tokens)
    if task_name == "seq_cls":
        return isinstance(example.get("text"), str) and isinstance(example.get("text_pair"), (str, type(None)))
    return all(isinstance(example.get(name), str) for name in INPUT_FIELDS[task_name])


def load_predictor(
    model_path: Union[str, Path],
    task_name: Optional[str] = None,
    max_seq_length: Optional[int] = None,
    config_dir: Optional[Union[str, Path]] = None,
    **engine_options: Any,
) -> ErniePredictor:
    """The predictor of an exported model.

    Args:
        model_path: what model_files.find_model takes: a prefix, a folder, or the beginning of a prefix.
        task_name: what the model is expected to be; by default whatever it is.
        max_seq_length: tokens of one window; by default the length the model was trained with.
        config_dir: the folder of inference.json and vocab.txt; by default the model's own.
        engine_options: fields of EngineConfig (device, backend, precision, num_threads ...).

    Raises:
        InputError: a file is missing or broken, or this machine cannot run the model so.
    """
    onnx = str(engine_options.get("backend", "")).startswith("onnxruntime")
    prefix = find_model(model_path, ".onnx" if onnx else ".pdmodel")
    task = load_task(config_dir or prefix.parent, max_seq_length)
    if task_name not in (None, task.name):
        raise InputError(f"{prefix} is a {task.name} model, not {task_name}: give its own task name, or another model")
    config = EngineConfig(**{"max_seq_length": task.max_seq_length, **engine_options})
    return ErniePredictor(load_engine(prefix, config), task)
