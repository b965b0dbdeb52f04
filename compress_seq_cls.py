"""Compress a fine-tuned model for classification of texts and of pairs of texts: prune, quantize, choose the best.

    python compress_seq_cls.py --dataset "clue tnews" --model_name_or_path best_models/TNEWS --output_dir ./
    python compress_seq_cls.py --task_name sample_reviews --model_name_or_path best_models/SAMPLE_REVIEWS

By default one width (--width_mult_list 3/4), and six INT8 models (--algo_list hist mse --batch_size_list
4 8 16) each of the pruned model and of the model as it came, to choose from.
The models and report.json go to compress/ in the model's folder. --output_dir, by default that folder
itself, holds the state of a run until it is done: an interrupted run goes on when its command is given
again. --no_pruning only quantizes, --no_quantization only prunes. Pruning trains with the hyper-parameters
of config.yml unless a flag gives them.
"""

from utils import SEQ_CLS, parse_arguments, run  # isort: skip  (sets up paddle before it is imported)

import os

from model_compression import CompressionArguments
from trainer import build_trainer


def main() -> None:
    model_args, data_args, args, compression_args = parse_arguments(SEQ_CLS, CompressionArguments)
    args.do_train = compression_args.pruning
    trainer = build_trainer(SEQ_CLS, model_args, data_args, args, finetuned=True)

    trainer.compress(
        data_args.task_name,
        os.path.join(model_args.model_name_or_path, "compress"),
        pruning=compression_args.pruning,
        quantization=compression_args.quantization,
        compress_config=compression_args.config(len(trainer.eval_dataset)),
    )


if __name__ == "__main__":
    run(main)
