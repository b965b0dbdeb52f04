"""Compress a fine-tuned model for tagging of entities: prune, quantize, choose the best.

    python compress_token_cls.py --dataset "msra_ner" --model_name_or_path best_models/MSRA_NER --output_dir ./
    python compress_token_cls.py --task_name sample_people_daily --model_name_or_path best_models/SAMPLE_PEOPLE_DAILY

The flags, what is made and where it goes: --help, or CompressionArguments in model_compression/config.py.
"""

from utils import TOKEN_CLS, parse_arguments, run  # isort: skip  (sets up paddle before it is imported)

import os

from model_compression import CompressionArguments
from trainer import build_trainer


def main() -> None:
    model_args, data_args, args, compression_args = parse_arguments(TOKEN_CLS, CompressionArguments)
    args.do_train = compression_args.pruning
    trainer = build_trainer(TOKEN_CLS, model_args, data_args, args, finetuned=True)

    trainer.compress(
        data_args.task_name,
        os.path.join(model_args.model_name_or_path, "compress"),
        pruning=compression_args.pruning,
        quantization=compression_args.quantization,
        compress_config=compression_args.config(len(trainer.eval_dataset)),
    )


if __name__ == "__main__":
    run(main)
