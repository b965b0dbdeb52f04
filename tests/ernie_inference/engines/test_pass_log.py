"""What is on stderr while a model loads."""

import subprocess
import sys

from tests.support.scripts import ROOT


def run_python(code):
    imports = (
        "import sys; sys.path.insert(0, 'deploy/python')\n"
        "import os\n"
        "from ernie_inference.engines.pass_log import without_pass_log\n"
    )
    return subprocess.run([sys.executable, "-c", imports + code], cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_what_is_written_before_an_abort_is_not_lost():
    done = run_python(
        "with without_pass_log():\n"
        "    os.write(2, b'---    quantized 3 fc ops\\nterminate called: out of memory')\n"
        "    os.abort()\n"
    )
    assert done.returncode < 0 and done.stderr == "terminate called: out of memory"


def test_two_loads_at_once_leave_stderr_as_it_was():
    done = run_python(
        "import threading, time\n"
        "def load(number):\n"
        "    with without_pass_log():\n"
        "        time.sleep(0.1 * number)\n"
        "        os.write(2, b'one\\n---    fused 1 pass\\n')\n"
        "threads = [threading.Thread(target=load, args=(number,)) for number in (1, 2)]\n"
        "[thread.start() for thread in threads], [thread.join() for thread in threads]\n"
        "print('after', file=sys.stderr)\n"
    )
    assert done.returncode == 0 and done.stderr == "one\none\nafter\n"


def test_a_process_without_stderr_loads_as_well():
    done = run_python("os.close(2)\nwith without_pass_log():\n    print('loaded')\n")
    assert done.returncode == 0 and done.stdout == "loaded\n"
