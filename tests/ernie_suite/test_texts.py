"""The texts in a file, in any of the forms that users have."""

import json
from pathlib import Path

from ernie_suite.texts import texts_of

import pytest

from ernie_inference.errors import InputError

SQUAD = {
    "version": "1.0",
    "data": [
        {
            "paragraphs": [
                {
                    "context": "桥长55公里。",
                    "qas": [{"id": "q-1", "question": "多长？", "answers": [{"text": "55公里", "answer_start": 2}]}],
                }
            ]
        }
    ],
}
FORMS = {
    "plain.txt": ("很好\n\n  \n不好 用\r\n[图片]\n2018", ["很好", "不好 用", "[图片]", "2018"]),
    "marked.txt": ("\ufeff很好\n", ["很好"]),
    "ner.tsv": ("I\x02B\x02M\x02公\x02司\tO\x02O\x02O\x02O\x02O\nhello\x02world\tO\x02O\n", ["IBM公司", "hello world"]),
    "lines.json": (
        '{"sentence": "很\\u597d", "label": "3", "id": "n-12"}\n\n{"keyword": ["甲"], "abst": "乙"}\n',
        ["很好", "甲", "乙"],
    ),
    "tagged.jsonl": ('{"tokens": ["I", "B", "M", "公司"], "labels": ["O", "O"]}\n', ["IBM公司", "O", "O"]),
    "own.ndjson": ('{"review": "很好", "shop": {"name": "书店"}}\n', ["很好", "书店"]),
    "inputs.jsonl": ('"很好"\n["问", "文"]\nnull\n', ["很好", "问", "文"]),
    "squad.json": (json.dumps(SQUAD), ["1.0", "桥长55公里。", "多长？", "55公里"]),
    "squad_over_lines.JSON": (json.dumps(SQUAD, indent=1), ["1.0", "桥长55公里。", "多长？", "55公里"]),
}


@pytest.mark.parametrize("name", FORMS)
def test_the_texts_of_every_form(name, tmp_path):
    content, texts = FORMS[name]
    (tmp_path / name).write_bytes(content.encode("utf-8"))
    assert list(texts_of(tmp_path / name)) == texts


@pytest.mark.parametrize(
    "name, content, said",
    [
        ("none.txt", None, "none.txt does not exist: give a file of texts"),
        ("gbk.txt", "好\n很好\n".encode("gbk"), "gbk.txt is not UTF-8 .line 1."),
        ("cut.json", b'{"sentence": "a"}\n{"sentence": ', "cut.json, line 2: not JSON"),
        ("text.json", "很好\n".encode(), "text.json is neither JSON lines nor one JSON value"),
        ("deep.json", b"[" * 100_000, "deep.json is neither JSON lines nor one JSON value"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.endswith((".txt", ".json")) else "",
)
def test_what_cannot_be_read_is_said_in_one_line(name, content, said, tmp_path):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=said) as refusal:
        list(texts_of(tmp_path / name))
    assert "\n" not in str(refusal.value)


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        list(texts_of(Path(tmp_path)))
