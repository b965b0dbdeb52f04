"""From ten lines of an annotation tool to a served model, by the five commands of the README; and back to the tool."""

import json
from pathlib import Path
from typing import List

from ernie_suite.annotation.formats import FORMATS
from ernie_suite.annotation.records import Changes, ReadOptions, Source

import pytest

from tests.support.readme_commands import READMES, code_blocks, shell_lines
from tests.support.scripts import INFER_CPU, run_here
from tests.support.services import RunningService

EXPORTS = Path(__file__).with_name("exports")
SHORT = ("--num_train_epochs", "1", "--per_device_train_batch_size", "4", "--max_seq_length", "32")


def section_commands() -> List[List[str]]:
    """The commands of README's section on one's own data."""
    blocks = [code for language, code in code_blocks(READMES[0]) if "dataset.py" in code and language == "bash"]
    return [words for code in blocks for words in shell_lines(code)]


def test_the_way_has_five_commands_and_two_back():
    scripts = [Path(words[1]).name for words in section_commands()]
    assert scripts[:5] == [
        "dataset.py", "dataset.py", "run_seq_cls.py", "model_to_serving.py", "seq_cls_service.py"
    ]  # fmt: skip
    assert scripts[5:7] == ["infer_cpu.py", "dataset.py"]


@pytest.mark.parametrize(
    ("task", "dataset", "export", "tool"),
    [
        ("seq_cls", "tnews", "label_studio_choices.json", "label_studio"),
        ("token_cls", "msra_ner", "doccano_sequence_labeling.jsonl", "doccano"),
    ],
)
def test_from_the_tool_to_a_service_and_back(small_ernie, tmp_path, task, dataset, export, tool):
    def typed(words: List[str]) -> List[str]:
        """A command of the README for this task, tool and folder."""
        places = {"export.json": EXPORTS / export, "tnews": dataset, "label_studio": tool, "seq_cls": task}
        replaced = []
        for word in words[1:]:
            word = str(places.get(word, word)).replace("seq_cls", task)
            own = word.startswith(("my_data", "best_models")) or word in ("texts.jsonl", "answers.jsonl", "tasks.json")
            replaced.append(str(tmp_path / word) if own else word)
        return replaced

    convert, describe, train, to_serving, serve, answer, back = map(typed, section_commands()[:7])
    assert "8" in run_here(*convert).stdout
    assert "max_seq_length" in run_here(*describe, "--model_name_or_path", small_ernie).stdout
    run_here(*train, "--model_name_or_path", small_ernie, *SHORT)
    run_here(*to_serving)
    folder = serve[serve.index("--model_dir") + 1]
    assert serve[0].endswith(f"{task}_service.py")
    texts = ["房间很大，王小明去了北京。", "鱼是凉的。"]
    with running(task, folder) as service:
        status, reply = service.post(json.dumps({"texts": texts}).encode())
    assert status == 200 and len(reply["results"]) == 2, reply

    (tmp_path / "texts.jsonl").write_text("".join(json.dumps(text) + "\n" for text in texts), encoding="utf-8")
    assert answer[0] == INFER_CPU
    run_here(*answer)
    run_here(*back)
    source = Source(tmp_path / "tasks.json", ReadOptions(), Changes())
    assert [record.text for record in FORMATS[tool].read(source)] == texts


class running:
    """A service that ends with the block."""

    def __init__(self, task: str, folder: str):
        self.service = RunningService(task, folder, "--thread_num=1")

    def __enter__(self) -> RunningService:
        return self.service

    def __exit__(self, *error) -> None:
        assert self.service.stop() == 0 or error[0] is not None
