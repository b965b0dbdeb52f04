"""The pipeline of paddle-serving-server that answers texts: what its Ops do here, and what of it had to be mended.

    Executor     (thread of the request)   a request -> parts of a batch each, one after the other; outputs -> answers
    RequestOp    (thread of the request)   a part -> what goes through the pipeline
    ModelOp      (its own thread)          windows of all waiting parts -> outputs, as one batch
    ResponseOp   (thread of the request)   the outputs of a part, or an error

A request of many windows puts its next part behind those that have come meanwhile, so that requests take turns, a batch
each: a small one waits for one batch of a large one, not for all of it.

Each class here that replaces something of paddle-serving-server 0.9.0 says what and why; all of that can
go when a release mends it (0.9.0 is the last one so far).
"""

import logging
import math
import os
import threading
import time
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

import numpy as np

from ernie_inference.errors import InputError
from ernie_inference.predictor import ErniePredictor
from ernie_inference.tasks.base import Task, Window
from ernie_serving.metrics import Metrics
from ernie_serving.protocol import RESULTS, Accepted, Code, results_json
from ernie_serving.serving_library import (
    ChannelData,
    ChannelDataType,
    ChannelStopError,
    ChannelTimeoutError,
    DAGExecutor,
    ServerYamlConfChecker,
    pb2,
    pipeline,
)

EXIT_DEAF = 70  # of a process whose model thread has ended
MOST_FAILURES = 3  # batches in a row of which the model computed nothing; then it is tried on an input of its own


class Batching(NamedTuple):
    """How windows are computed together.

    Attributes:
        size: windows of one run of the model.
        across_requests: whether those of several requests are; those of one request always are.
        wait: seconds to wait for more windows once there is one; 0 takes what is there.
    """

    size: int
    across_requests: bool
    wait: float


class Part(NamedTuple):
    """As many windows of a request as are computed at once, and when its client gives up (time.monotonic)."""

    windows: List[Window]
    deadline: float

    @property
    def expired(self) -> bool:
        return time.monotonic() >= self.deadline


class RequestOp(pipeline.RequestOp):
    """Hands on parts of what protocol.read_request has accepted.

    The library's own reads tensors of the request, and unpickles those of type BYTES, which lets any client run
    code (https://github.com/PaddlePaddle/Serving/issues/1907). Here a pipeline Request never gets this far.
    """

    def unpack_request_package(self, request: Part) -> Tuple[Dict[str, Any], int, None, str]:
        """(content, log id, no error code, no error)."""
        if not isinstance(request, Part):
            raise TypeError("only what read_request accepted may enter the pipeline")
        return {"part": request}, 0, None, ""

    def proto_tensor_2_numpy(self, tensor) -> None:
        raise TypeError("tensors are not taken")


class ModelOp(pipeline.Op):
    """Runs the model on the windows of all parts that are waiting, as one batch.

    Args:
        name: of the model, for metrics.
        predictor: used in place of Serving's LocalPredictor, which never turns INT8 on on a processor.
        batching: how requests are put together.
        warm_up: whether each model thread, before it takes the first input, runs every shape that can come (with few
            shapes) and answers the task's examples.

    Attributes:
        is_failing: whether the model computes nothing any more, whatever the input.
    """

    def __init__(
        self,
        name: str,
        predictor: ErniePredictor,
        input_ops: List,
        batching: Batching,
        metrics: Metrics,
        warm_up: bool = False,
    ):
        super().__init__(name=name, input_ops=input_ops)
        self.is_failing = False
        self._failures = 0  # batches in a row
        self._predictor = predictor
        self._batching = batching
        self._metrics = metrics
        self._busy_since: Dict[int, float] = {}  # thread -> when its batch began
        self._warm_up = warm_up
        self._warm_threads = threading.Semaphore(0)
        self._cold: Optional[Exception] = None  # why a model thread could not warm up

    def init_from_dict(self, conf: Dict) -> None:
        super().init_from_dict(conf)
        self.with_serving = True  # without a model of its own the library would leave process() out

    def init_client(self, client_config, server_endpoints) -> None:
        """There is no client: process() has the predictor."""

    def busy_seconds(self) -> float:
        """How long the batch that is computed now has taken so far, the longest if there are several threads."""
        now = time.monotonic()
        return max((now - since for since in list(self._busy_since.values())), default=0.0)

    def wait_until_warm(self) -> None:
        """Wait, once, until all model threads take requests.

        Raises:
            InputError: the model failed on a shape of input that can come.
        """
        for _ in range(self.concurrency):
            self._warm_threads.acquire()
        if self._cold is not None:
            raise InputError(f"the model cannot be run ({' '.join(str(self._cold).split())[:300]})")

    def preprocess(self, input_dicts: Dict, data_id: int = 0, log_id: int = 0) -> Tuple[Dict, bool, None, str]:
        """The windows of one part, as an array, which the library joins with those of other parts."""
        (content,) = input_dicts.values()
        return {"windows": object_array(content["part"].windows)}, False, None, ""

    def process(self, feed_batch: List[Dict], typical_logid: int = 0) -> Tuple[Dict, int, str]:
        """Outputs for all windows of a batch; for one that cannot be computed, the exception stands in its place."""
        windows = list(feed_batch[0]["windows"])
        self._metrics.batch(self.name, len(windows))
        return {"outputs": object_array(self._run_batch(windows))}, Code.OK, ""

    def _run_batch(self, windows: List[Window]) -> List[Any]:
        self._busy_since[threading.get_ident()] = time.monotonic()
        try:
            outputs = self._predictor.run_windows(windows, self._batching.size)
            self._failures = 0
            return outputs
        except Exception:
            logging.exception("a batch of %d windows failed; they are computed one by one", len(windows))
            outputs = [self._run_alone(window) for window in windows]
            self._note_failure(all(isinstance(output, Exception) for output in outputs))
            return outputs
        finally:
            del self._busy_since[threading.get_ident()]

    def _note_failure(self, whole: bool) -> None:
        """Whether it is the model that fails, or only what clients send, shows an input of its own."""
        self._failures = self._failures + 1 if whole else 0
        if self._failures >= MOST_FAILURES:
            task = self._predictor.task
            sample = task.windows(task.as_example(task.sample_inputs[0], "sample"))[0]
            self.is_failing = isinstance(self._run_alone(sample), Exception)
            self._failures = 0

    def _run_alone(self, window: Window) -> Any:
        try:
            return self._predictor.run_windows([window])[0]
        except Exception as error:
            return error

    def postprocess(self, input_data: Dict, fetch_data: Dict, data_id: int = 0, log_id: int = 0) -> Tuple:
        """The outputs of one part, or an error code where one of its windows failed."""
        outputs = list(fetch_data["outputs"])
        if any(isinstance(output, Exception) for output in outputs):
            return {}, Code.FAILED, "the model failed on this request"
        return {"outputs": outputs}, None, ""

    def _run(self, *args, **kwargs) -> None:
        """A model thread that ends would leave a process that accepts requests and answers none: end that too."""
        try:
            if self._warm_up and not self._warms_up():
                return  # nobody waits for its answers yet
            self._warm_threads.release()
            super()._run(*args, **kwargs)
        except BaseException:
            logging.exception("the model thread ended")
            os._exit(EXIT_DEAF)

    def _warms_up(self) -> bool:
        try:
            if self._predictor.engine.config.few_shapes:  # all shapes of an engine would be hundreds
                self._predictor.warm_up()
            self._predictor.predict(self._predictor.task.sample_inputs)
        except Exception as error:
            self._cold = error
            self._warm_threads.release()
        return self._cold is None

    def _auto_batching_generator(self, input_channel, op_name: str, *args, **kwargs) -> Iterator[List[Dict]]:
        """Batches of waiting parts with batch_size windows in all at the most.

        In 0.9.0 a batch is counted in requests, however many texts they have; the waiting time begins before the
        first request comes, so that one which comes late goes alone; without a waiting time, requests are kept until
        there are batch_size of them, so perhaps for ever; and an idle server wakes up every few milliseconds.
        Parts whose client has given up are left out here.
        """
        most_windows = self._batching.size if self._batching.across_requests else 1
        kept = None
        while True:
            batch, count = [], 0
            item = kept if kept is not None else input_channel.front(op_name)
            kept, end = None, time.monotonic() + self._batching.wait
            while item is not None:
                (data,) = item.values()
                part = data.dictdata["part"] if data.dictdata is not None else Part([], math.inf)
                if not part.expired:
                    size = len(part.windows)
                    if batch and count + size > most_windows:
                        kept = item
                        break
                    batch.append(item)
                    count += size
                if count >= most_windows:
                    break
                item = _next_item(input_channel, op_name, end - time.monotonic())
            if batch:
                yield batch


def _next_item(channel, op_name: str, wait: float):
    """The next item of a channel, or None when there is none within `wait` seconds."""
    try:
        # front() waits for ever where its timeout is 0.
        return channel.front(op_name, max(wait, 1e-6))
    except ChannelTimeoutError:
        return None


class ResponseOp(pipeline.ResponseOp):
    """Hands the outputs of a part to its request."""

    def pack_response_package(self, channeldata: ChannelData):
        """The outputs of a part, a list, or the pipeline Response that says why there are none."""
        if channeldata.error_code != Code.OK or channeldata.datatype != ChannelDataType.DICT.value:
            return super().pack_response_package(channeldata)
        return channeldata.parse()["outputs"]


class Executor(DAGExecutor):
    """The pipeline's way in: call(accepted) returns a pipeline Response, at the request's deadline at the latest.

    In 0.9.0 a request waits for its answer without a limit, and the thread that hands the answers out ends with
    a KeyError at the first answer that nobody waits for; after that every request hangs.
    """

    def __init__(self, response_op: ResponseOp, conf: Dict, task: Task, part_size: int):
        self._caller = threading.local()
        self._task = task
        self._part_size = part_size
        super().__init__(response_op, conf, worker_idx=0)

    def call(self, accepted: Accepted):
        """The answers as one JSON string, or an error; what is left of a request at its deadline is not computed."""
        self._caller.deadline = accepted.deadline
        windows = sum(accepted.windows, [])
        outputs: List[Tuple] = []
        for begin in range(0, len(windows), self._part_size):
            found = super().call(Part(windows[begin : begin + self._part_size], accepted.deadline))
            if not isinstance(found, list):
                return found
            outputs += found
        try:
            answers = results_json(self._task, accepted, outputs)
        except InputError as error:  # the model computed no numbers
            logging.error("a request failed: %s", error)
            return pb2.Response(err_no=Code.FAILED, err_msg=str(error))
        return pb2.Response(err_no=Code.OK, key=[RESULTS], value=[answers])

    def start(self) -> None:
        self._handing_out = threading.Thread(target=self._hand_out_answers, daemon=True)
        self._handing_out.start()

    def stop(self) -> None:
        """End all threads, once the batch is computed that they are at. Nobody may call() any more."""
        super().stop()
        self._handing_out.join()

    def _hand_out_answers(self) -> None:
        while True:
            try:
                (answer,) = self._out_channel.front(self.name).values()
            except ChannelStopError:
                return
            with self._cv_for_cv_pool:
                waiting = self._cv_pool.get(answer.id)
                if waiting is not None:
                    with waiting:
                        self._fetch_buffer[answer.id] = answer
                        waiting.notify_all()

    def _get_channeldata_from_fetch_buffer(self, data_id: int, cond_v: threading.Condition) -> ChannelData:
        with cond_v:
            left = self._caller.deadline - time.monotonic()
            cond_v.wait_for(lambda: self._fetch_buffer[data_id] is not None, max(left, 0))
        with self._cv_for_cv_pool:
            del self._cv_pool[data_id]
            answer = self._fetch_buffer.pop(data_id)
        return answer or ChannelData(
            error_code=Code.TIMEOUT, error_info="no answer within the time limit", data_id=data_id
        )


def build_pipeline(
    name: str,
    predictor: ErniePredictor,
    batching: Batching,
    concurrency: int,
    metrics: Metrics,
    warm_up: bool = False,
) -> Tuple[Executor, ModelOp]:
    """Start the pipeline of a model.

    Ops are threads: with processes (is_thread_op off), 0.9.0 loses the requests of one that is killed and never
    answers them. channel_size stays 0, which is no limit: with a limit, a request that finds the channel full is
    not woken up when there is room again. Service counts the requests instead.
    """
    model_op = ModelOp(name, predictor, [RequestOp()], batching, metrics, warm_up)
    conf = ServerYamlConfChecker.load_server_yaml_conf(
        yml_dict={"dag": {"is_thread_op": True, "channel_size": 0}, "op": {model_op.name: {"concurrency": concurrency}}}
    )
    model_op.init_from_dict(conf["op"][model_op.name])
    executor = Executor(ResponseOp(input_ops=[model_op]), conf, predictor.task, batching.size)
    executor.start()
    return executor, model_op


def object_array(items: List) -> np.ndarray:
    """A one-dimensional array that holds any objects."""
    array = np.empty(len(items), dtype=object)
    for number, item in enumerate(items):
        array[number] = item
    return array
