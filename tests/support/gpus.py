"""GPU settings without a card: what stands in for paddle.inference.Config where Paddle is the CPU build."""

import paddle
from paddle import inference

HAS_CUDA_BUILD = paddle.is_compiled_with_cuda()


class Recorder:
    """Keeps the calls made on it: name -> (arguments, keyword arguments) of the last."""

    real = inference.Config

    def __init__(self, *files):
        self.files, self.calls = files, {}

    def __getattr__(self, name):
        assert hasattr(self.real, name), f"paddle.inference.Config has no {name}"
        return lambda *args, **kwargs: self.calls.__setitem__(name, (args, kwargs))
