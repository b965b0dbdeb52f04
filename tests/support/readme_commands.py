"""The commands that a document tells a reader to type."""

import ast
import re
import shlex
from pathlib import Path
from typing import Iterator, List, NamedTuple, Tuple

from tests.support.scripts import ROOT

READMES = sorted(path for path in (ROOT / "README.md", ROOT / "README_zh.md") if path.exists())
DOCUMENTS = READMES + sorted(ROOT.glob("deploy/*/README*.md"))
# (English, Chinese), where there are both.
PAIRS = [(path.with_name("README.md"), path) for path in DOCUMENTS if path.name == "README_zh.md"]
FOLDERS_OF_SCRIPTS = (ROOT, ROOT / "examples", ROOT / "benchmarks", *ROOT.glob("deploy/*"))
SCRIPTS = [path for folder in FOLDERS_OF_SCRIPTS for path in sorted(folder.glob("*.py"))]

PYTHONS = ("python", ".venv/bin/python")
ALLOWED_MODULES = {"json.tool", "venv", "pip", "http.server"}  # of Python itself
LAUNCHER = ["-m", "paddle.distributed.launch"]
LAUNCHER_FLAGS = {"--nproc_per_node", "--log_dir"}


class Command(NamedTuple):
    """A command line as it stands in a document."""

    document: Path
    words: Tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.document.relative_to(ROOT)}: {shlex.join(self.words)}"


# ---------------------------------------------------------------- reading the documents


def code_blocks(document: Path) -> List[Tuple[str, str]]:
    """(language, code) of every fenced block."""
    text = document.read_text(encoding="utf-8")
    return re.findall(r"^```(\w*)\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def shell_lines(code: str) -> Iterator[List[str]]:
    """The words of every command of a piece of shell: continued lines and quotes over several lines are one command."""
    pending = ""
    here_document = None
    for line in code.splitlines():
        if here_document:
            here_document = None if line.strip() == here_document else here_document
            continue
        pending += line[:-1] + " " if line.endswith("\\") else line
        if line.endswith("\\"):
            continue
        lexer = shlex.shlex(pending, posix=True, punctuation_chars=";&|<>")
        lexer.whitespace_split = True
        try:
            words = list(lexer)
        except ValueError:  # a quote that ends in a later line
            pending += "\n"
            continue
        found = re.search(r"<<-?\s*['\"]?(\w+)", pending)
        here_document = found and found[1]
        pending = ""
        yield from split_commands(words)
    assert not pending.strip(), f"unfinished command: {pending}"


def split_commands(words: List[str]) -> Iterator[List[str]]:
    """Commands between && ; | and &, without assignments before them and redirections after them."""
    command: List[str] = []
    for word in [*words, ";"]:
        if word and set(word) <= set(";&|"):
            while command and re.match(r"\w+=", command[0]):
                command.pop(0)
            if command:
                yield command
            command = []
        else:
            command.append(word)


def without_redirections(words: List[str]) -> List[str]:
    for number, word in enumerate(words):
        if word and set(word) <= set("<>"):
            return words[:number]
    return words


def commands_of(document: Path) -> Iterator[Command]:
    """Of a document's shell blocks and its `python ...` and `make ...` between back quotes; of a script's docstring."""
    if document.suffix == ".py":
        text = ast.get_docstring(ast.parse(document.read_text(encoding="utf-8"))) or ""
        text = re.sub(r"\\\n\s*", "", text)
        pieces = re.findall(r"^ *(python .*?)(?:  .*)?$", text, flags=re.MULTILINE)
    else:
        text = document.read_text(encoding="utf-8")
        prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
        pieces = [code for language, code in code_blocks(document) if language in ("bash", "sh", "shell")]
        pieces += [" ".join(piece.split()) for piece in re.findall(r"`((?:python|make)\s[^`]+)`", prose)]
    for piece in pieces:
        for words in shell_lines(piece):
            words = [word for word in without_redirections(words) if word != "..."]
            yield Command(document, tuple(words))


COMMANDS = list(dict.fromkeys(command for document in DOCUMENTS for command in commands_of(document)))
DOCSTRING_COMMANDS = [command for script in SCRIPTS for command in commands_of(script)]


def runs_a_script(command: Command) -> bool:
    """Whether it is one of the repository's scripts, and not `python -m json.tool` or `python -c ...`."""
    words = command.words
    if words[0] not in PYTHONS or words[1] == "-c":
        return False
    return words[1] != "-m" or words[1:3] == tuple(LAUNCHER) or words[2] not in ALLOWED_MODULES


def script_of(command: Command) -> List[str]:
    """[script, argument, ...] of a python command, with the launcher and the interpreter taken off."""
    words = list(command.words[1:])
    if words[:2] == LAUNCHER:
        start = next(i for i, word in enumerate(words) if word.endswith(".py"))
        unknown = {word for word in words[2:start] if word.startswith("--")} - LAUNCHER_FLAGS
        assert not unknown, f"{command}: {unknown} of paddle.distributed.launch"
        return words[start:]
    if words[0] == "-m":
        return [words[1].replace(".", "/") + ".py", *words[2:]]
    return words
