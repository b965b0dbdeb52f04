"""Answers on an NVIDIA GPU, with Paddle Inference, or with TensorRT inside it.

    python deploy/python/infer_gpu.py --task_name token_cls --model_path best_models/MSRA_NER/export/model \\
        --precision_mode fp16
    python deploy/python/infer_gpu.py --task_name seq_cls --model_path best_models/TNEWS/compress/0.75/hist16/int8 \\
        --precision_mode int8

INT8 runs in TensorRT; --use_trt chooses it for the other precisions. The shapes that TensorRT must
know are collected at the first start and kept beside the model. Who scripts that step can do it
alone (--set_dynamic_shape, then end) and name the file (--shape_info_file).
"""

from ernie_inference.commands import answer, make_parser, parse_arguments
from ernie_inference.console import number_from, run_command
from ernie_inference.engines.backends import PADDLE, TENSORRT
from ernie_inference.engines.config import EngineConfig
from ernie_inference.engines.tensorrt_shapes import collect_shapes
from ernie_inference.inference_config import load_task
from ernie_inference.model_files import find_model
from ernie_inference.predictor import load_predictor


def main() -> None:
    parser = make_parser(__doc__, ["fp32", "fp16", "int8"])
    parser.add_argument("--use_trt", action="store_true", help="use TensorRT for fp32 and fp16 too")
    parser.add_argument("--shape_info_file", help="TensorRT's shape ranges; default: beside the model")
    parser.add_argument("--set_dynamic_shape", action="store_true", help="only collect the shape ranges, then end")
    parser.add_argument("--device_id", type=number_from(0), default=0, help="number of the GPU")
    args = parse_arguments(parser)
    tensorrt = args.use_trt or args.set_dynamic_shape or args.shape_info_file or args.precision_mode == "int8"
    options = {
        "device": "gpu",
        "backend": TENSORRT if tensorrt else PADDLE,
        "precision": args.precision_mode,
        "device_id": args.device_id,
        "batch_size": args.batch_size,
        "shape_info_file": args.shape_info_file,
    }
    if args.set_dynamic_shape:
        prefix = find_model(args.model_path)
        length = load_task(prefix.parent, args.max_seq_length).max_seq_length
        file = collect_shapes(prefix, EngineConfig(max_seq_length=length, **options), always=True)
        print(f"wrote the shape ranges to {file}")
        return
    predictor = load_predictor(args.model_path, task_name=args.task_name, max_seq_length=args.max_seq_length, **options)
    answer(predictor, args)


if __name__ == "__main__":
    run_command(main)
