"""Tagging of entities, in the BIO scheme."""

from bisect import bisect_right
from typing import Any, Callable, Dict, List, NamedTuple, Sequence, Tuple

import numpy as np

from ernie_inference.answer_options import PLAIN, AnswerOptions
from ernie_inference.tasks.base import Encoded, Task, Window, finite, softmax, windows_of_tokens
from ernie_inference.tasks.schemas import SHARE, SPAN, TEXT, array, one_of, one_of_names, record
from ernie_inference.wordpiece import is_word, without_dropped


class Tag(NamedTuple):
    """The label of a token, the characters [start, end) that it covers, and the label's probability."""

    label: str
    start: int
    end: int
    confidence: float


class TokenClassification(Task):
    """Tag entities. Example: {"text": str}, or {"tokens": [str, ...]} as MSRA NER has it.

    Labels are in the BIO scheme. Positions are of what came in: characters of a text, or numbers of
    tokens in a list; both ends belong to the entity, so a text's entity is text[start : end + 1].
    Each token of a list has one tag. A type that has no I- label is thus for lists: in a text, every
    piece of `3.5%` can be an entity by itself.
    """

    name = "token_cls"
    fields = ("text", "tokens")
    forms = 'a text, a list of tokens, or {"text": ...} or {"tokens": [...]}'
    input_schema = one_of(TEXT, array(TEXT), record({"text": TEXT}), record({"tokens": array(TEXT)}))
    sample_inputs = [
        "北京的秋天很美，王小明打算和同事去香山看红叶。",
        ["中", "国", "科", "学", "院", "的", "李", "华", "昨", "天", "从", "上", "海", "回", "来", "。"],
    ]

    @classmethod
    def example_of(cls, given: Any) -> Dict:
        if isinstance(given, str):
            return {"text": given}
        return {"tokens": given} if isinstance(given, (list, tuple)) else {}

    @classmethod
    def is_example(cls, example: Dict) -> bool:
        if "text" in example:
            return isinstance(example["text"], str)
        tokens = example.get("tokens")
        return isinstance(tokens, (list, tuple)) and all(isinstance(token, str) for token in tokens)

    @classmethod
    def input_of(cls, example: Dict) -> Dict:
        name = "text" if "text" in example else "tokens"
        return {name: example[name]}

    @classmethod
    def describe(cls, answer: Dict) -> List[str]:
        entities = [
            f"entity: {entity['entity']}   label: {entity['label']}   pos: {entity['pos']}"
            + (f"   confidence: {entity['confidence']:.4f}" if "confidence" in entity else "")
            for entity in answer["entities"]
        ]
        return ["The model detects all entities:", *entities]

    def encode(self, example: Dict, options: AnswerOptions = PLAIN) -> Encoded:
        return Encoded(self._head(), self.tokenizer.encode(text_of(example)))

    def tags(self, windows: List[Window], outputs: List[Tuple[np.ndarray, ...]]) -> List[Tag]:
        """One tag for each token of the whole text."""
        logits, spans = self.logits_of_tokens(windows, outputs)
        certain = softmax(logits / self.temperature).max(axis=-1)
        return [
            Tag(self.labels[pick], *span, confidence)
            for pick, span, confidence in zip(logits.argmax(axis=-1).tolist(), spans, certain.tolist())
        ]

    @staticmethod
    def logits_of_tokens(
        windows: List[Window], outputs: List[Tuple[np.ndarray, ...]]
    ) -> Tuple[np.ndarray, List[Tuple[int, int]]]:
        """The logits [tokens, num_labels] of the tokens of the whole text, and the characters [start, end) of each.

        Where windows overlap, a token is read from one of them, as windows_of_tokens says.
        """
        logits = [
            finite(of_window[window.offset : window.offset + len(window.starts)])
            for window, (of_window,) in zip(windows, outputs)
        ]
        if len(windows) == 1:
            return logits[0], list(zip(windows[0].starts, windows[0].ends))
        read = [(number, token - windows[number].begin) for token, number in enumerate(windows_of_tokens(windows))]
        spans = [(windows[number].starts[i], windows[number].ends[i]) for number, i in read]
        return np.stack([logits[number][i] for number, i in read]), spans

    def answer_schema(self) -> Dict[str, Any]:
        types = sorted({label[2:] for label in self.labels if label[:2] in ("B-", "I-")})
        entity = {"entity": TEXT, "label": one_of_names(types), "pos": SPAN}
        return record({"entities": array(record(entity, {"confidence": SHARE}))})

    def choices(self, window: Window, outputs: Tuple[np.ndarray, ...]) -> List[int]:
        return outputs[0][window.offset : window.offset + len(window.starts)].argmax(axis=-1).tolist()

    def decode(
        self,
        example: Dict,
        windows: List[Window],
        outputs: List[Tuple[np.ndarray, ...]],
        options: AnswerOptions = PLAIN,
    ) -> Dict:
        """outputs: one (logits [seq_len, num_labels],) a window. Returns {"entities": [{"entity", "label", "pos"}]}.

        With options each entity has "confidence" too: the probability of the least certain of its tags, as all of them
        must be right for it to be right. top_k gives the most certain entities, in the order of the text.
        """
        text, to_input = text_and_positions(example)
        tags = self.tags(windows, outputs)
        if "text" not in example:
            tags = first_of_each(tags, to_input)
        entities = []
        for label, first, stop in bio_spans([(tag.label, i, i + 1) for i, tag in enumerate(tags)]):
            inside = tags[first:stop]
            start, end = inside[0].start, inside[-1].end
            entity = {"entity": text[start:end], "label": label, "pos": [to_input(start), to_input(end - 1)]}
            entities.append({**entity, "confidence": min(tag.confidence for tag in inside)})
        return {"entities": _wanted(entities, options)}


def _wanted(entities: List[Dict], options: AnswerOptions) -> List[Dict]:
    """The entities that the options ask for, in the order of the text; their confidence is left out where none do."""
    if not options.given:
        return [{name: value for name, value in entity.items() if name != "confidence"} for entity in entities]
    sure = [entity for entity in entities if not options.drops(entity["confidence"])]
    best = sorted(range(len(sure)), key=lambda i: -sure[i]["confidence"])[: options.top_k]
    return [sure[i] for i in sorted(best)]


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


def first_of_each(tags: Sequence[Tag], owner: Callable[[int], int]) -> List[Tag]:
    """One tag for each token of a list, of those a model token; owner(start) is the list token's number.

    Where several model tokens begin in one list token, the first one's tag counts for all of it (Devlin et al. 2019,
    section 5.3); in training the others may have none, see tagging_targets of ernie_suite/tasks/token_cls.py.
    """
    firsts: List[Tag] = []
    previous = None
    for tag in tags:
        number = owner(tag.start)
        if number == previous:
            firsts[-1] = firsts[-1]._replace(end=tag.end)
        else:
            firsts.append(tag)
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
