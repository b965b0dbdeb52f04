"""Answers with a .onnx file: with ONNX Runtime on a processor or an NVIDIA GPU, or with OpenVINO on a processor.

    paddle2onnx --model_dir best_models/MSRA_NER/export --model_filename model.pdmodel \\
        --params_filename model.pdiparams --save_file best_models/MSRA_NER/export/ner.onnx --opset_version 13
    python deploy/paddle2onnx/infer.py --task_name token_cls --model_path best_models/MSRA_NER/export/ner.onnx
    python deploy/paddle2onnx/infer.py --task_name token_cls --model_path best_models/MSRA_NER/export/ner.onnx \\
        --device gpu --precision_mode fp16
    python deploy/paddle2onnx/infer.py --task_name seq_cls --model_path best_models/TNEWS/compress/0.75/hist16/int8 \\
        --precision_mode int8 --use_openvino
"""

import sys
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "python"))

from ernie_inference.commands import answer, make_parser, parse_arguments
from ernie_inference.console import number_from, run_command
from ernie_inference.engine_choice import load_with
from ernie_inference.engines.backends import ONNX, OPENVINO


def main() -> None:
    parser = make_parser(__doc__, ["fp32", "fp16", "bf16", "int8"])
    parser.add_argument("--device", default="cpu", choices=["cpu", "gpu"])
    parser.add_argument("--num_threads", type=number_from(1), help="default: all processors this process may use")
    parser.add_argument("--use_openvino", action="store_true", help="OpenVINO instead of ONNX Runtime")
    parser.add_argument("--use_trt", action="store_true", help="ONNX Runtime's TensorRT provider")
    parser.add_argument("--config_dir", help="folder of inference.json and vocab.txt; default: that of the model")
    args = parse_arguments(parser)
    predictor = load_with(
        OPENVINO if args.use_openvino else ONNX,
        args.model_path,
        config_dir=args.config_dir,
        device=args.device,
        precision=args.precision_mode,
        use_trt=args.use_trt,
        task_name=args.task_name,
        max_seq_length=args.max_seq_length,
        num_threads=args.num_threads,
        batch_size=args.batch_size,
    )
    answer(predictor, args)


if __name__ == "__main__":
    run_command(main)
