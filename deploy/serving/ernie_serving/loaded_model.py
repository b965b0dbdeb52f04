"""A model in memory, as a service runs it: a predictor with its pipeline, from its warm-up until it is stopped."""

from ernie_inference.errors import InputError
from ernie_inference.predictor import ErniePredictor
from ernie_serving.metrics import Metrics
from ernie_serving.pipeline_ops import Batching, build_pipeline
from ernie_serving.protocol import Accepted, Limits
from ernie_serving.service_config import ModelConfig


class LoadedModel:
    """A predictor that runs in a pipeline of its own.

    Args:
        name: of the model.
        config: how it is served.
        predictor: what runs it.
        version: that its answers name.
        warm_up: whether to run every shape of input that can come, and the task's examples, in the threads that will
            run the model; wait_until_warm says how that went.
    """

    def __init__(
        self,
        name: str,
        config: ModelConfig,
        predictor: ErniePredictor,
        metrics: Metrics,
        version: str = "",
        warm_up: bool = False,
    ):
        self.config = config
        self.predictor = predictor
        self.description = predictor.engine.describe()  # here, as another thread would get an engine of its own for it
        self.version = version
        self.in_flight = 0  # requests that it has accepted; its Service counts them
        self.limits = Limits(
            texts=config.max_texts,
            chars=config.max_chars,
            request_chars=config.max_request_chars,
            windows=config.max_windows,
        )
        batching = Batching(config.batch_size, config.auto_batching, config.auto_batching_timeout / 1000)
        self.executor, self.model_op = build_pipeline(name, predictor, batching, config.concurrency, metrics, warm_up)

    def wait_until_warm(self) -> None:
        """Wait, once, until it can answer.

        Raises:
            InputError: it cannot, and has been stopped.
        """
        try:
            self.model_op.wait_until_warm()
        except InputError as error:
            self.stop()
            raise InputError(f"{self.config.model_dir}: {error}") from None

    def call(self, accepted: Accepted):
        """The pipeline Response to an accepted request."""
        return self.executor.call(accepted)

    @property
    def is_failing(self) -> bool:
        """Whether it computes nothing any more."""
        return self.model_op.is_failing

    @property
    def is_stuck(self) -> bool:
        """Whether it has worked on one batch for longer than any request waits, several times over."""
        return self.model_op.busy_seconds() > max(60.0, 3 * self.config.timeout / 1000)

    def stop(self) -> None:
        """End its threads. It must have answered all requests."""
        self.executor.stop()
