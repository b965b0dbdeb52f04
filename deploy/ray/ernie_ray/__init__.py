"""Bulk files of any size over several processes and machines, with Ray Data.

    command     the command: its flags, and all that is said before and after
    run         the run itself: the driver, which hands out parts and sees them come back
    cluster     Ray, started here or found elsewhere
    address     whether there is a cluster where --address says
    worker      what runs on the workers: reading files through, and answering parts
    rows        JSON lines and Parquet: rows in, the same rows with answers out
    store       folders and files, wherever they are (pyarrow's file systems)
    job         what a run was begun from and which of its parts are complete

A part is a number of neighbouring rows of one input file, and one file of the output. It is answered by one worker and
takes its name when it is complete, so that a worker that is lost costs the parts it had in hand, and no row is in the
output twice: a part that is made again replaces itself.
"""

import sys
from pathlib import Path

INFERENCE = Path(__file__).resolve().parents[2] / "python"  # where ernie_inference is, if it is not installed
if INFERENCE.is_dir():
    sys.path.insert(1, str(INFERENCE))
