"""Commands that are run once: a step that is finished is not run again unless what decides its result has changed."""

import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import count
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

from ernie_suite.runs import HARMLESS_ARGUMENTS, read_json, what_changed

from ernie_inference.files import write_json


@dataclass(frozen=True)
class Step:
    """A command with what it leaves.

    Attributes:
        name: what it is, for people; no two steps have the same.
        command: what a user types after `python`.
        is_finished: whether its results are there, whole.
        settings: what decides the result besides the command's flags: "config", hyper-parameters that a flag beats,
            and "model" and "data", what it starts from.
        owns: the folder or file of its results, to be put aside when what decides them has changed; None where the
            command itself knows which of them it may keep.
    """

    name: str
    command: List[str]
    is_finished: Callable[[], bool]
    settings: Dict[str, Any] = field(default_factory=dict)
    owns: Optional[Path] = None


# Flags that change neither a model nor a figure: what is done and where, what is shown, and how it is computed.
HARMLESS = HARMLESS_ARGUMENTS | {"config"}  # what a config file says is among the settings
MODEL_FLAGS = {"model_name_or_path", "model_path"}  # where it lies, if the settings say what it is
DATA_FLAGS = {"data_dir"}  # likewise
SAME = {"dataset": "task_name"}  # two names of one flag


def deciding(started: Dict[str, Any]) -> Dict[str, Any]:
    """What decides the result of a step, from its command and its settings: equal for commands that mean the same."""
    script, *words = started["command"]
    flags = parse_flags(words)
    others = {name: value for name, value in started.items() if name not in ("command", "config")}
    known = {**started.get("config", {}), **flags}
    harmless = HARMLESS | (MODEL_FLAGS if "model" in others else set()) | (DATA_FLAGS if "data" in others else set())
    values = {name: plain(value) for name, value in known.items() if name not in harmless}
    return {"script": script, **others, **values}


def parse_flags(words: List[str]) -> Dict[str, Any]:
    """Flags by name: a text, a list of several, or True for one without a value; words before any flag under ""."""
    flags: Dict[str, List[str]] = {}
    values = flags.setdefault("", [])
    for word in words:
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            values = flags[SAME.get(name, name)] = [value] if equals else []
        else:
            values.append(word)
    return {name: (values if len(values) > 1 else values[0] if values else True) for name, values in flags.items()}


def plain(value: Any) -> Any:
    """A value so that equal ones look alike: 1e-3 and 0.001, 3/4 and 0.75, "true" and True."""
    if isinstance(value, list):
        return [plain(each) for each in value]
    try:
        return float(Fraction(str(value)))
    except (ValueError, ZeroDivisionError, OverflowError):
        return {"true": True, "false": False}.get(str(value).lower(), value)


def changes(before: Dict[str, Any], now: Dict[str, Any]) -> str:
    """In a few words, what differs between what decided a result and what would decide it now."""
    return what_changed(before, now, change_of_flag)


def change_of_flag(name: str, before: Any, now: Any) -> str:
    return f"another {name}" if isinstance(before, dict) or isinstance(now, dict) else f"{name} {before} -> {now}"


class Runner:
    """Runs steps and keeps a journal of their settings, so that a finished one is not run again.

    The journal says with which settings a step was started; whether it ended, its results say.
    """

    def __init__(self, journal: Path):
        self.path = journal
        self.started: Dict[str, Dict] = read_json(journal)
        self.ran: List[str] = []
        self.found: List[str] = []
        self.failed: List[str] = []

    def run(self, step: Step) -> bool:
        """Run a step unless it is finished; whether its results are there. A failure is one line on stderr."""
        settings = {"command": step.command, **step.settings}
        before = self.started.get(step.name)
        changed = before and changes(deciding(before), deciding(settings))
        if before and not changed and step.is_finished():
            print(f"finished before: {step.name}", flush=True)
            self.found.append(step.name)
            return True
        if changed or (before is None and step.owns is not None and step.is_finished()):
            reason = f"other settings than before ({changed})" if changed else "made by something else"
            begun = "from the start" if step.owns else "once more"
            print(f"{reason}, {begun}: {step.name}{put_aside(step.owns)}")
        self.started[step.name] = settings
        write_json(self.path, self.started)
        print(f"\n--- {step.name}\n$ python {shlex.join(step.command)}", flush=True)
        status = subprocess.run([sys.executable, *step.command]).returncode
        if status == 0 and step.is_finished():
            self.ran.append(step.name)
            return True
        self.fail(step.name, f"exit status {status}" if status else "its results are not there")
        return False

    def fail(self, name: str, reason: str) -> None:
        self.failed.append(name)
        print(f"failed: {name} ({reason}); what needs it is left out", file=sys.stderr, flush=True)


def put_aside(path: Optional[Path]) -> str:
    """Give results another name, so that what took hours is never lost; says so, where there were any."""
    if path is None or not path.exists():
        return ""
    kept = next(name for number in count(1) if not (name := path.with_name(f"{path.name}.before-{number}")).exists())
    path.rename(kept)
    return f"; what was there is kept as {kept}"
