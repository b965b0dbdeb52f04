"""Whether the scripts of this repository take given command lines: each is parsed by the script's own parser.

Reads a JSON list of [script, argument, ...] from stdin and writes a JSON list of what is wrong with each, null for
nothing. A script is run as far as its parser has parsed the whole command line, and stopped there. In one process of
its own, so that paddle is imported once and nothing of it stays behind in the tests.
"""

import argparse
import contextlib
import io
import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Iterator, List, Optional

ROOT = Path(__file__).resolve().parents[2]
# Scripts that give flags they do not know to the run scripts.
PASS_ON = tuple(
    f"benchmarks/{name}.py" for name in ("reproduce", "pruning_quality", "suspect_labels", "few_labels", "vocabulary")
)
original = argparse.ArgumentParser.parse_known_args
start_process = subprocess.Popen.__init__


class Parsed(Exception):
    """The command line is parsed; `rest` are flags that are passed on."""

    def __init__(self, rest: List[str]):
        self.rest = rest


def problem(script: str, arguments: List[str]) -> Optional[str]:
    """What is wrong with a command line; None for nothing."""
    path = ROOT / script
    if not path.is_file():
        return f"there is no {script}"

    def parse_known_args(self, args=None, namespace=None):
        given = sys.argv[1:] if args is None else list(args)
        parsed, rest = original(self, args, namespace)
        whole = given[len(given) - len(arguments) :] == arguments  # after what config.yml says, with run_*.py
        if not whole or "--help" not in self._option_string_actions or (rest and script not in PASS_ON):
            return parsed, rest  # a parser for some flags before the one for all, or an error that the script reports
        names = [argument.partition("=")[0] for argument in given if argument.startswith("--")]
        known = set(flags_of(self))
        abbreviated = [name for name in names if name not in known and name not in rest]
        if abbreviated:
            self.error(f"{abbreviated[0]} is no flag, only the beginning of one")
        raise Parsed(rest)

    argv, search = sys.argv, list(sys.path)
    sys.argv, sys.path[:0] = [str(path), *arguments], [str(path.parent), str(ROOT)]  # ROOT, as with python -m
    argparse.ArgumentParser.parse_known_args = parse_known_args
    subprocess.Popen.__init__ = refuse  # a script that does not parse first must not begin its work
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(errors):
            runpy.run_path(str(path), run_name="__main__")
        return f"{script} ended without parsing its command line"
    except Parsed as parsed:
        return problem("run_seq_cls.py", ["--task_name", "tnews", *parsed.rest]) if parsed.rest else None
    except SystemExit as end:
        message = errors.getvalue().strip() or str(end)
        return {0: None, 2: message}.get(end.code, f"exit status {end.code}: {message}")  # 0 is --help
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    finally:
        argparse.ArgumentParser.parse_known_args = original
        subprocess.Popen.__init__ = start_process
        sys.argv, sys.path[:] = argv, search


def flags_of(parser: argparse.ArgumentParser) -> Iterator[str]:
    """The flags of a parser and of its sub-commands."""
    yield from parser._option_string_actions
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from flags_of(command)


def refuse(self, command, *more, **options) -> None:
    """In the place of Popen.__init__: no script of ours is started; what packages start when imported is."""
    if not isinstance(command, str) and sys.executable in map(str, command):
        raise RuntimeError(f"it starts {command[1]} without parsing its command line")
    start_process(self, command, *more, **options)


if __name__ == "__main__":
    print(json.dumps([problem(script, arguments) for script, *arguments in json.load(sys.stdin)]))
