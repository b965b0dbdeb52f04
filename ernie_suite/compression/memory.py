"""How much memory a model takes: that of a process that has it loaded and does nothing else."""

import subprocess
import sys
from pathlib import Path
from typing import Dict

from ernie_inference.errors import InputError

DEPLOYMENT = Path(__file__).resolve().parents[2] / "deploy" / "python"
# It answers once, for only then has the engine laid out its weights.
PROGRAM = """
import resource, sys
sys.path.insert(0, sys.argv[1])
from ernie_inference.predictor import load_predictor
predictor = load_predictor(sys.argv[2], device="cpu", precision=sys.argv[3])
predictor.predict(predictor.task.sample_inputs)
with open("/proc/self/statm") as pages:
    print(int(pages.read().split()[1]) * resource.getpagesize())
"""


def measure_memory(prefix: Path, precision: str) -> Dict[str, int]:
    """{"memory": bytes that a process holds (its resident set) which has answered with a model by Paddle on the CPU}.

    Python and Paddle themselves are in it.

    Raises:
        InputError: that process has failed.
    """
    command = [sys.executable, "-c", PROGRAM, str(DEPLOYMENT), str(prefix), precision]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise InputError(f"the memory of {prefix} cannot be measured ({reason[:200]}): is there enough of it?")
    return {"memory": int(done.stdout.splitlines()[-1])}
