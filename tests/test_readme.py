"""What the READMEs and the scripts' docstrings tell a reader to type exists, parses and, where that is cheap, runs."""

import ast
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Dict, Iterator, List, Tuple

from ernie_suite.data import DATASETS
from ernie_suite.sample_data import make_sample_data

import pytest

from tests.support.readme_commands import (
    COMMANDS,
    DOCSTRING_COMMANDS,
    DOCUMENTS,
    PAIRS,
    PYTHONS,
    READMES,
    SCRIPTS,
    Command,
    code_blocks,
    runs_a_script,
    script_of,
)
from tests.support.scripts import ROOT, SAMPLES, run_here, run_in_turn, run_script

# What else a reader may be told to type, and why it is not parsed here.
ALLOWED = {
    "paddle2onnx": "another project's command; it is run below",
    "curl": "asks a service that the command before it started",
    "pip": "installs packages",
    ".venv/bin/pip": "installs packages",
    "uv": "installs packages",
    "python3.9": "makes the environment by hand, before there is one",
    "git": "fetches the repository",
    "cd": "goes into it",
    "source": "of the shell",
    "docker": "another machine's business",
    "kubectl": "another machine's business",
    "mkdir": "of the shell",
    "cat": "of the shell",
    "cp": "of the shell",
    "kill": "of the shell",
    "printf": "of the shell",
    "sleep": "of the shell",
}
OTHERS_FLAGS = {"health-cmd": "docker run", "dry-run": "kubectl"}


# ---------------------------------------------------------------- everything exists


def test_the_documents_hold_commands():
    assert len(COMMANDS) > 20 and len(DOCSTRING_COMMANDS) > 20
    assert {"run_seq_cls.py", "compress_qa.py", "infer.py"} <= {word for c in COMMANDS for word in c.words}


def test_every_python_command_is_taken_by_its_scripts_parser():
    commands = list({c.words: c for c in COMMANDS + DOCSTRING_COMMANDS if runs_a_script(c)}.values())
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "support" / "parse_commands.py")],
        input=json.dumps([script_of(command) for command in commands]),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    problems = json.loads(done.stdout.splitlines()[-1])
    wrong = [f"{command}\n    {problem}" for command, problem in zip(commands, problems) if problem]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.words[0] not in PYTHONS], ids=str)
def test_every_other_command_is_a_make_target_or_allowed(command):
    if command.words[0] == "make":
        targets = re.findall(r"^(\w[\w-]*):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
        assert set(command.words[1:]) <= set(targets)
    else:
        assert command.words[0] in ALLOWED, f"{command.words[0]} is not in ALLOWED, with its reason"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_flags_and_files_in_the_text_exist(document):
    """Flags between back quotes stand in some script; so do the files that are linked."""
    text = document.read_text(encoding="utf-8")
    paths = [*SCRIPTS, *ROOT.glob("ernie_suite/**/*.py"), *ROOT.glob("deploy/*/*/**/*.py")]
    sources = "\n".join(path.read_text(encoding="utf-8") for path in paths)
    known = set(re.findall(r"[\w-]+", sources + (ROOT / "Makefile").read_text())) | set(OTHERS_FLAGS)
    flags = {flag for code in re.findall(r"`([^`\n]+)`", text) for flag in re.findall(r"--([a-z][\w-]+)", code)}
    assert not [flag for flag in flags if flag not in known and f"--{flag}" not in known]
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    assert not [link for link in links if link and not (document.parent / link).exists()]


PYTHON_BLOCKS = [(path, code) for path in DOCUMENTS for language, code in code_blocks(path) if language == "python"]


@pytest.mark.parametrize(("document", "code"), PYTHON_BLOCKS, ids=lambda value: getattr(value, "name", "code"))
def test_python_blocks_compile_and_what_they_import_exists(document, code):
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            for name in node.names:
                importlib.import_module(name.name)
        elif isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module)
            missing = [name.name for name in node.names if name.name != "*" and not hasattr(module, name.name)]
            assert not missing, f"{node.module} has no {', '.join(missing)}"


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: str(pair[0].parent.relative_to(ROOT)))
def test_both_readmes_have_the_same_code(pair):
    english, chinese = map(code_blocks, pair)
    for number, (ours, theirs) in enumerate(zip(english, chinese), 1):
        assert ours == theirs, f"code block {number}"
    assert len(english) == len(chinese)
    for path, other in (pair, pair[::-1]):
        assert f"]({other.name})" in path.read_text(encoding="utf-8"), f"{path} has no link to {other.name}"


def prose_of(document: Path) -> str:
    return re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def headings(document: Path) -> List[Tuple[str, str]]:
    return re.findall(r"^(#+) (.+)$", prose_of(document), flags=re.MULTILINE)


@pytest.mark.parametrize("pair", PAIRS[1:], ids=lambda pair: str(pair[0].parent.relative_to(ROOT)))
def test_a_translation_is_whole(pair):
    """The same sections, rows of tables, items of lists, files that are linked, and what stands between back quotes."""
    english, chinese = map(prose_of, pair)
    assert [level for level, _ in headings(pair[0])] == [level for level, _ in headings(pair[1])]
    for pattern in (r"^\|", r"^- "):
        assert len(re.findall(pattern, english, re.MULTILINE)) == len(re.findall(pattern, chinese, re.MULTILINE)), (
            pattern
        )
    chinese = chinese.replace("README_zh.md", "README.md")  # of other parts too
    for pattern in (r"\]\(([^)#\s]+)", r"`([^`]+)`"):
        ours, theirs = ({" ".join(found.split()) for found in re.findall(pattern, text)} for text in (english, chinese))
        assert ours - {pair[1].name} == theirs - {"README.md"}, pattern


def anchor(heading: str) -> str:
    """What GitHub makes of a heading, for links to it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_to_sections_lead_to_one(document):
    for target, name in re.findall(r"\]\(([^)#\s]*)#([^)\s]+)\)", prose_of(document)):
        if "://" not in target:
            found = (document.parent / target).resolve() if target else document
            assert name in [anchor(heading) for _, heading in headings(found)], f"{target}#{name}"


# ---------------------------------------------------------------- and runs

STAND_INS = {
    "tnews": "sample_reviews",
    "iflytek": "sample_reviews",
    "msra_ner": "sample_people_daily",
    "cmrc2018": "sample_reading",
    "c3": "sample_choice",
}
FOLDERS = {
    "seq_cls": ("TNEWS", "IFLYTEK", "SAMPLE_REVIEWS", "DEMO", "MINE"),
    "token_cls": ("MSRA_NER", "SAMPLE_PEOPLE_DAILY"),
    "qa": ("CMRC2018", "SAMPLE_READING"),
    "multiple_choice": ("C3", "SAMPLE_CHOICE"),
}
COMPRESS_LIMITS = ["--max_train_samples", "16", "--max_eval_samples", "16", "--num_train_epochs", "1"]
COMPRESS_LIMITS += ["--max_seq_length", "48", "--algo_list", "hist", "--batch_size_list", "4", "16"]
EXAMPLE_TEXT = '"房间宽敞明亮，早餐也很丰富。"\n'


def with_stand_ins(words: List[str], folder: Path) -> List[str]:
    """A command with sample sets for those that need a network, and with the tests' small models."""
    replaced = []
    for word in words:
        name = word.rpartition("clue ")[2]
        if name in STAND_INS:
            word = STAND_INS[name]
        elif word.startswith("best_models/") or word in ("texts.jsonl", "answers.jsonl"):
            word = str(folder / word)
        elif word == "PREFIX":
            word = str(folder / "best_models" / "TNEWS" / "export" / "model")
        elif word in (".", "./"):
            word = str(folder / "state")
        elif word == "my_data":
            word = str(make_sample_data("sample_reviews")[0])
        replaced.append(word)
    return replaced


@pytest.fixture(scope="module")
def workplace(finetuned, tmp_path_factory) -> Path:
    """A folder with best_models/, fine-tuned by the tests and compressed by the README's own commands."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "texts.jsonl").write_text(EXAMPLE_TEXT, encoding="utf-8")
    for task, names in FOLDERS.items():
        first = folder / "best_models" / names[0]
        shutil.copytree(finetuned(task), first)
        for name in names[1:]:
            first.with_name(name).symlink_to(first)
    compressed = set()
    for words in (list(c.words) for c in COMMANDS if c.document.name == "README.md" and c.words[0] in PYTHONS):
        if words[1].startswith("compress_") and words[1] not in compressed:
            compressed.add(words[1])
            run_script(*with_stand_ins(words[1:], folder), *COMPRESS_LIMITS)
    assert len(compressed) == 4
    return folder


RUN_ELSEWHERE = {"multi_label"}  # in ernie_suite/test_multi_label.py, which has a model for them


def cheap_commands() -> Iterator[Command]:
    """Commands of inference and of .onnx files, which take seconds with small models; README_zh.md has the same."""
    seen = set()
    for command in COMMANDS:
        words = command.words
        is_cheap = words[1].endswith(("infer.py", "infer_cpu.py", "export.py")) and not set(words) & RUN_ELSEWHERE
        runs = words[0] == "paddle2onnx" or (words[0] in PYTHONS and is_cheap)
        if runs and words not in seen and "--device gpu" not in " ".join(words) and "--use_trt" not in words:
            seen.add(words)
            yield command


@pytest.mark.parametrize("command", cheap_commands(), ids=str)
def test_it_runs(workplace, command):
    words = with_stand_ins(list(command.words), workplace)
    (workplace / "answers.jsonl").unlink(missing_ok=True)
    if words[0] == "paddle2onnx":
        program = Path(sys.executable).with_name("paddle2onnx")
        done = subprocess.run([program, *words[1:]], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
        return
    limits = ["--max_samples", "128"] if words[1] == "infer.py" else []
    assert run_here(*words[1:], *limits).stdout


def test_the_compression_example_in_python_runs(finetuned, tmp_path):
    """In a process of its own, where nothing has set the number of threads: all cores are used."""
    folder = tmp_path / "TNEWS"
    shutil.copytree(finetuned("seq_cls"), folder)
    code = next(code for language, code in code_blocks(READMES[0]) if "trainer.compress(" in code)
    code = code.replace("best_models/TNEWS", str(folder)).replace('"tnews"', '"sample_reviews"')
    code = code.replace("flags = [", "flags = [" + ", ".join(map(repr, COMPRESS_LIMITS[:6])) + ", ")
    code += "\nimport os; from ernie_inference.processors import usable_processors"
    code += "\nassert os.environ['OMP_NUM_THREADS'] == str(usable_processors())"
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    run_script("-c", code, env=environment)
    models = {row["model"] for row in json.loads((folder / "compress" / "report.json").read_text())["models"]}
    grid = {f"{algorithm}{size}/int8" for algorithm in ("hist", "mse") for size in (4, 8, 16)}
    assert models == {"inference/infer", "0.75/float32", *grid, *(f"0.75/{model}" for model in grid)}


def test_quantizing_alone_needs_no_training_split(finetuned, tmp_path):
    """And the commands that it prints name the data."""
    model, data = tmp_path / "model", tmp_path / "data"
    shutil.copytree(finetuned("seq_cls"), model)
    data.mkdir()
    for name in ("dev.json", "labels.json"):
        shutil.copy(make_sample_data("sample_reviews")[0] / name, data)
    flags = ["--task_name", "sample_reviews", "--model_name_or_path", model, "--data_dir", data]
    flags += ["--output_dir", tmp_path, *COMPRESS_LIMITS[2:4], "--no_pruning", "--algo_list", "hist"]
    done = run_script("compress_seq_cls.py", *flags)
    assert f"--data_dir {data} --model_path {model}/compress/hist" in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "model"]


def needs_a_gpu() -> Dict[str, Command]:
    """One command of each script that asks for a GPU."""
    wanted = [c for c in COMMANDS if c.words[0] in PYTHONS and {"--use_trt", "gpu"} & set(c.words)]
    wanted += [c for c in COMMANDS if c.words[0] in PYTHONS and c.words[1].endswith("infer_gpu.py")]
    return {command.words[1]: command for command in wanted}


@pytest.mark.parametrize("command", needs_a_gpu().values(), ids=str)
def test_where_there_is_no_gpu_it_is_said_in_one_line(workplace, command):
    import paddle

    if paddle.device.is_compiled_with_cuda() and paddle.device.cuda.device_count():
        pytest.skip("there is a GPU")
    done = run_here(*with_stand_ins(list(command.words[1:]), workplace), check=False)
    assert is_one_line(done) and re.search("paddlepaddle-gpu|CUDA|tensorrt", done.stderr), done.stderr


NETWORK = {
    **{"run_seq_cls.py": "tnews", "run_token_cls.py": "msra_ner", "run_qa.py": "cmrc2018"},
    **{"compress_seq_cls.py": "tnews", "compress_token_cls.py": "msra_ner", "compress_qa.py": "cmrc2018"},
    **{"run_multiple_choice.py": "c3", "compress_multiple_choice.py": "c3"},
    "infer.py": "tnews",
}


def needs_network(script: str) -> List[str]:
    """The first command of the README with a script that would load its published data set, which NETWORK names."""
    commands = (list(c.words[1:]) for c in COMMANDS if c.words[1:2] == (script,))
    given = (words for words in commands if "--data_dir" not in words)
    return next(
        words for words in given if {word.rpartition("clue ")[2] for word in words} & {*DATASETS} <= {NETWORK[script]}
    )


@pytest.fixture(scope="module")
def without_network(finetuned, tmp_path_factory) -> Dict[str, subprocess.CompletedProcess]:
    """What the commands of NETWORK end with; in one process of their own, as paddlenlp is told of its folder once."""
    folder, lines = tmp_path_factory.mktemp("network"), []
    for script in NETWORK:
        words = needs_network(script)
        if script == "infer.py":
            words[words.index("--model_path") + 1] = str(finetuned("seq_cls") / "export" / "model")
        elif script.startswith("run_"):
            words += ["--output_dir", str(folder / "model")]
        lines.append(words)
    environment = {**os.environ, "HOME": str(folder), "PPNLP_HOME": str(folder)}
    environment.update({f"{name}_proxy": "http://127.0.0.1:9" for name in ("http", "https")})
    return dict(zip(NETWORK, run_in_turn(lines, env=environment)))


@pytest.mark.parametrize("script", NETWORK)
def test_without_a_network_it_is_said_in_one_line(without_network, script):
    """Of the published commands, all defaults."""
    done = without_network[script]
    assert is_one_line(done) and f"data set {NETWORK[script]} cannot be had" in done.stderr, done.stderr
    assert "--data_dir" in done.stderr


def is_one_line(done: subprocess.CompletedProcess) -> bool:
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    return done.returncode not in (0, 1) and len(errors) == 1 and "Traceback" not in done.stderr


def test_sample_sets_stand_for_every_task():
    assert set(STAND_INS.values()) == set(SAMPLES.values())
