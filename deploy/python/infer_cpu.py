"""Answers on the processor, with Paddle Inference and oneDNN, ONNX Runtime or OpenVINO.

    python deploy/python/infer_cpu.py --task_name token_cls --model_path best_models/MSRA_NER/export/model
    python deploy/python/infer_cpu.py --task_name seq_cls --model_path best_models/TNEWS/compress/0.75/hist16/int8 \\
        --precision_mode int8 --num_threads 10
    python deploy/python/infer_cpu.py --model_path best_models/TNEWS/compress/0.75/hist16/int8 \\
        --precision_mode int8 --engine auto
    python deploy/python/infer_cpu.py --task_name seq_cls --model_path best_models/TNEWS/export/model \\
        --input_file texts.jsonl --output_file answers.jsonl
"""

from ernie_inference.commands import answer, make_parser, parse_arguments
from ernie_inference.console import number_from, run_command
from ernie_inference.engine_choice import add_engine_flags, engine_of, load_with


def main() -> None:
    parser = make_parser(__doc__, ["fp32", "int8", "bf16"])
    parser.add_argument("--num_threads", type=number_from(1), help="default: all processors this process may use")
    add_engine_flags(parser)
    args = parse_arguments(parser)
    predictor = load_with(
        engine_of(args),
        args.model_path,
        task_name=args.task_name,
        max_seq_length=args.max_seq_length,
        precision=args.precision_mode,
        num_threads=args.num_threads,
        batch_size=args.batch_size,
    )
    answer(predictor, args)


if __name__ == "__main__":
    run_command(main)
