"""Compress a fine-tuned model for reading comprehension: prune, quantize, choose the best.

    python compress_qa.py --dataset "clue cmrc2018" --model_name_or_path best_models/CMRC2018 --output_dir ./
    python compress_qa.py --task_name sample_reading --model_name_or_path best_models/SAMPLE_READING

The flags, what is made and where it goes: --help, or CompressionArguments in model_compression/config.py.
"""

from utils import QA, parse_arguments, run  # isort: skip  (sets up paddle before it is imported)

import os

from model_compression import CompressionArguments
from trainer import build_trainer


def main() -> None:
    model_args, data_args, args, compression_args = parse_arguments(QA, CompressionArguments)
    args.do_train = compression_args.pruning
    trainer = build_trainer(QA, model_args, data_args, args, finetuned=True)

    trainer.compress(
        data_args.task_name,
        os.path.join(model_args.model_name_or_path, "compress"),
        pruning=compression_args.pruning,
        quantization=compression_args.quantization,
        compress_config=compression_args.config(len(trainer.eval_dataset)),
    )


if __name__ == "__main__":
    run(main)
