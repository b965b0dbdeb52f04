"""What is measured in a process that has done nothing else: ernie_inference.measuring says why, and what it can."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np
from tqdm import tqdm

from ernie_inference.errors import InputError

DEPLOYMENT = Path(__file__).resolve().parents[2] / "deploy" / "python"
# The first place where modules are looked for is else the current folder, whatever lies there.
PROGRAM = "import sys; sys.path[0] = sys.argv[1]; from ernie_inference.measuring import main; main()"
# Of what is kept of earlier calls, for what was measured otherwise is no figure to compare with.
MEASURED_IN = "a process of its own, the least time of each batch"
LEAST_ROUNDS, MOST_ROUNDS = 5, 40
ROUNDS_SECONDS = 40.0  # after which no further round begins
SHOWN = 200  # characters of what a process says that has failed

Model = Tuple[Path, str]  # the prefix of its files, and its precision


class FreshProcess:
    """A process that measures models, started when it is first asked; a context manager, which ends it."""

    def __init__(self) -> None:
        self._process: Optional[subprocess.Popen] = None
        self._errors: IO[bytes] = TemporaryFile()  # noqa: SIM115 (closed by __exit__)

    def __enter__(self) -> "FreshProcess":
        return self

    def __exit__(self, *_) -> None:
        self._end()
        self._errors.close()

    def least_seconds(self, models: Sequence[Model], batches: Sequence, what: str) -> List[float]:
        """How long each model takes by Paddle on the CPU for some batches together when nothing else slows it.

        It is the sum of the least that each batch took in rounds in which all models run them, in turn. What other
        programs do, on a virtual machine those of other machines too, comes and goes within a minute, and slows some
        models more than others: then the median of a ratio changes from one measurement to the next.

        Args:
            what: is measured, for the progress bar.
        """
        rounds = self.rounds(models, batches, LEAST_ROUNDS, MOST_ROUNDS, ROUNDS_SECONDS)
        shown = tqdm(rounds, desc=f"{what}: rounds", total=MOST_ROUNDS, leave=False)
        return np.array(list(shown)).min(axis=0).sum(axis=1).tolist()

    def rounds(
        self, models: Sequence[Model], batches: Sequence, least: int, most: int, seconds: float = 0.0
    ) -> Iterator[List[List[float]]]:
        """ernie_inference.measuring.rounds, one after another, as they are measured."""
        as_lists = [[array.tolist() for array in batch] for batch in batches]
        limits = {"least": least, "most": most, "seconds": seconds}
        return self._ask("rounds", models=[_plain(each) for each in models], batches=as_lists, **limits)

    def engines(self, model: Model, original: Model, windows: Sequence) -> Dict[str, Dict]:
        """ernie_inference.measuring.engines."""
        (found,) = self._ask("engines", model=_plain(model), original=_plain(original), windows=windows)
        return found

    def memory(self, model: Model) -> int:
        """ernie_inference.measuring.memory."""
        (found,) = self._ask("memory", model=_plain(model))
        return found

    def _ask(self, what: str, **arguments: Any) -> Iterator[Any]:
        """The answers to a request.

        Raises:
            InputError: what is asked for cannot be measured, or the process has ended.
        """
        if self._process is None:
            self._process = self._start()
        requests, answers = self._process.stdin, self._process.stdout
        assert requests and answers
        said_before = self._errors.seek(0, os.SEEK_END)
        is_whole = False
        try:
            print(json.dumps([what, arguments]), file=requests, flush=True)
            for line in answers:
                content = json.loads(line) if line.endswith("\n") else {}
                is_whole = "error" in content or "done" in content
                if "error" in content:
                    raise InputError(content["error"])
                if is_whole or not content:
                    break
                yield content["answer"]
            if not is_whole:
                raise self._ended(said_before)
        except BrokenPipeError:
            raise self._ended(said_before) from None
        finally:
            if not is_whole:  # what else it answers would be taken for the answers to the next request
                self._end()

    def _end(self) -> None:
        if self._process:
            self._process.kill()
            self._process.communicate()
        self._process = None

    def _start(self) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(DEPLOYMENT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            encoding="utf-8",
        )

    def _ended(self, said_before: int) -> InputError:
        assert self._process
        status = self._process.wait()
        self._errors.seek(said_before)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        reason = f"signal {-status}" if status < 0 else (lines or [f"exit status {status}"])[-1][:SHOWN]
        advice = ": is there enough memory?" if -status == signal.SIGKILL else ""
        return InputError(f"the process that measures models has ended ({reason}){advice}")


def _plain(model: Model) -> List[str]:
    return [str(model[0]), model[1]]


def measure_memory(prefix: Path, precision: str) -> Dict[str, int]:
    """{"memory": bytes that a process holds (its resident set) which has answered with a model by Paddle on the CPU}.

    Python and Paddle themselves are in it.

    Raises:
        InputError: that process has failed.
    """
    with FreshProcess() as process:
        return {"memory": process.memory((prefix, precision))}
