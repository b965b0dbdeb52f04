"""Commands that are run once: a step that is finished with the same settings is not run again."""

import json
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

from files import write_json


@dataclass(frozen=True)
class Step:
    """A command with what it leaves.

    Attributes:
        name: what it is, for people; no two steps have the same.
        command: what a user types after `python`.
        is_finished: whether its results are there, whole.
        settings: what decides the result besides the command: hyper-parameters, what it starts from.
        owns: what to remove when command or settings are others than before.
    """

    name: str
    command: List[str]
    is_finished: Callable[[], bool]
    settings: Dict[str, Any] = field(default_factory=dict)
    owns: Optional[Path] = None


class Runner:
    """Runs steps and keeps a journal of their settings, so that a finished one is not run again.

    The journal says with which settings a step was started; whether it ended, its results say.
    """

    def __init__(self, journal: Path):
        self.path = journal
        self.started: Dict[str, Dict] = read_json(journal) or {}
        self.ran: List[str] = []
        self.found: List[str] = []
        self.failed: List[str] = []

    def run(self, step: Step) -> bool:
        """Run a step unless it is finished; whether its results are there. A failure is one line on stderr."""
        settings = {"command": step.command, **step.settings}
        before = self.started.get(step.name)
        if before == settings and step.is_finished():
            print(f"finished before: {step.name}", flush=True)
            self.found.append(step.name)
            return True
        if before is not None and before != settings:
            print(f"other settings than before, from the start: {step.name}")
            remove(step.owns)
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


def remove(path: Optional[Path]) -> None:
    if path is not None and path.is_dir():
        shutil.rmtree(path)
    elif path is not None:
        path.unlink(missing_ok=True)


def read_json(path: Path) -> Optional[Any]:
    """The content of a JSON file; None when there is none that is whole."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
