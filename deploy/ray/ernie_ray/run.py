"""A run, as the driver sees it: files are read through, parts handed out, and complete ones counted."""

import json
from dataclasses import dataclass, replace
from typing import Any, Dict, Iterator, List, Optional, Union

import ray
import ray.data
from ray.exceptions import RayActorError, RayError
from tqdm import tqdm

from ernie_inference.answer_options import AnswerOptions
from ernie_inference.errors import InputError
from ernie_ray import job
from ernie_ray.address import AUTO, CLIENT
from ernie_ray.cluster import connected
from ernie_ray.job import InputFile, Piece
from ernie_ray.rows import Columns, Format
from ernie_ray.store import Store, one_line
from ernie_ray.worker import AnswerParts, ScanFiles

MOST_DEATHS = 5  # of workers over the same part: it is then likely that the part is what kills them


@dataclass
class Run:
    """What to answer, where and how.

    Attributes:
        files: the input, in the order in which it is answered.
        format: of the input and of the output.
        model: arguments of load_with, the same on each worker.
        depends_on: of the predictor that they make.
        num_workers: None for as many as the cluster has room for.
        num_threads: of each worker.
        answer_options: what of the answers is wanted.
    """

    files: List[str]
    format: Format
    columns: Columns
    output: Store
    model: Dict[str, Any]
    depends_on: Dict[str, Any]
    rows_per_part: int
    batch_size: int
    num_workers: Optional[int]
    num_threads: int
    address: Optional[str]
    answer_options: AnswerOptions


@dataclass
class Written:
    """What an output folder holds in the end."""

    rows: int
    parts: int
    parts_before: int  # that were there already


def answer(run: Run) -> Written:
    """Make all parts that are not there yet.

    Raises:
        InputError: a row is no input, the folder is another run's, or Ray or the model fails.
    """
    if not (run.address or "").startswith(CLIENT):
        return answer_from_here(run)
    with connected(run.address, 0):
        try:  # Ray Data 2.49 cannot be driven by a Ray client ('Worker' object has no attribute 'core_worker')
            result = ray.get(ray.remote(num_cpus=0)(answer_there).remote(replace(run, address=AUTO)))
        except RayError as error:
            raise ended(error) from None
    if isinstance(result, str):
        raise InputError(result)
    return result


def answer_there(run: Run) -> Union[Written, str]:
    """The run in a task of the cluster: what it wrote, or the reason why it did not."""
    try:
        return answer_from_here(run)
    except (InputError, OSError) as error:
        return one_line(error)


def answer_from_here(run: Run) -> Written:
    with job.locked(run.output):
        before = job.begun_from(run.output)
        settings = {
            **run.depends_on,
            "format": run.format.name,
            "text_column": run.columns.text,
            "answer_column": run.columns.answer,
            "rows_per_part": run.rows_per_part,
            **run.answer_options.given,
        }
        if before is not None:  # what needs no reading first
            old = before.get("made_from") or {}
            job.check_same(run.output, before, {**settings, "input": old.get("input")})
        run.output.remove_unfinished()
        with connected(run.address, (run.num_workers or 1) * run.num_threads) as cpus:
            try:
                return answer_with(run, settings, before, workers_of(run, cpus))
            except RayError as error:
                raise ended(error) from None


def workers_of(run: Run, cpus: int) -> int:
    """How many workers there will be.

    Raises:
        InputError: there are not so many processors.
    """
    workers = run.num_workers or cpus // run.num_threads
    if workers < 1 or workers * run.num_threads > cpus:
        raise InputError(
            f"the cluster has {cpus} processors, and {max(workers, 1)} workers of {run.num_threads} threads need "
            f"{max(workers, 1) * run.num_threads}: give fewer with --num_workers or --num_threads"
        )
    return workers


def answer_with(run: Run, settings: Dict[str, Any], before: Optional[Dict], workers: int) -> Written:
    files = scan(run, workers)
    made_from = {**settings, "input": [[file.sha256, file.rows] for file in files]}
    total = sum(file.rows for file in files)
    if not total:
        raise InputError(f"there are no rows in {run.files[0]}{' and the others' * (len(files) > 1)}")
    if before is None:
        job.begin(run.output, made_from, files)
    else:
        job.check_same(run.output, before, made_from)
    pieces = job.pieces_of(files, run.rows_per_part, made_from)
    ending = run.format.endings[0]
    done, missing = job.split_done(run.output, pieces, ending)
    with tqdm(total=total, initial=sum(p.rows for p in done), unit="row", desc="answering") as progress:
        for name, rows, size in answer_parts(run, missing, workers):
            if run.output.size(name + ending) != size:
                raise InputError(
                    f"{name}{ending} was written on a worker and is not in {run.output} here: "
                    "name a folder that all machines share"
                )
            progress.update(rows)
    if job.split_done(run.output, pieces, ending)[1]:
        raise InputError(f"parts in {run.output} were removed or changed meanwhile: give the same command again")
    return Written(total, len(pieces), len(done))


def scan(run: Run, workers: int) -> List[InputFile]:
    """The input files, read through by the workers."""
    arguments = (run.format.name, run.depends_on["task"], list(run.columns), run.rows_per_part)
    found = {}
    with tqdm(total=len(run.files), unit="file", desc="reading", leave=False) as progress:
        concurrency = min(workers, len(run.files))
        for result in results_of(run.files, ScanFiles, arguments, concurrency, cpus=1):
            progress.update()
            found[result[0]] = InputFile(*result)
    return [found[file] for file in run.files]


def answer_parts(run: Run, pieces: List[Piece], workers: int) -> Iterator[List]:
    """Name, rows and size of parts, as they become complete."""
    if pieces:
        arguments = (
            run.depends_on,
            run.output.absolute,
            run.format.name,
            list(run.columns),
            {**run.model, "num_threads": run.num_threads},
            run.batch_size,
            run.answer_options.given,
        )
        concurrency = min(workers, len(pieces))
        yield from results_of(pieces, AnswerParts, arguments, concurrency, cpus=run.num_threads)


def results_of(items: List, worker: type, arguments: tuple, concurrency: int, cpus: int) -> Iterator[Any]:
    """What workers make of items, each by itself and in any order; a worker that is lost is started again.

    Raises:
        InputError: the first item, in their order, for which a worker gave a reason why it cannot be.
    """
    given = ray.data.from_items([{"item": json.dumps(item)} for item in items], override_num_blocks=len(items))
    results = given.map_batches(
        worker,
        fn_constructor_args=arguments,
        batch_size=1,
        concurrency=concurrency,
        num_cpus=cpus,
        max_restarts=-1,
        max_task_retries=MOST_DEATHS,
    )
    for row in results.iter_rows():
        result = json.loads(row["item"])
        if "error" in result:
            raise InputError(result["error"])
        yield result["result"]


def ended(error: RayError) -> InputError:
    """What to say of an error of Ray itself."""
    if isinstance(error, RayActorError):
        return InputError(
            f"a worker died {MOST_DEATHS + 1} times over one part (is memory short?): what is complete is kept; give "
            "the same command again, with fewer --num_workers"
        )
    return InputError(f"Ray ended the run ({last_line(error)}): give the same command again")


def last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return one_line(error)[:300] if len(lines) < 2 else lines[-1][:300]
