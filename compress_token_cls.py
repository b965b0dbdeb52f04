"""Compress a fine-tuned model for tagging of entities: prune, quantize, choose the best.

    python compress_token_cls.py --dataset "msra_ner" --model_name_or_path best_models/MSRA_NER --output_dir ./
    python compress_token_cls.py --task_name sample_people_daily --model_name_or_path best_models/SAMPLE_PEOPLE_DAILY

By default one width (--width_mult_list 3/4) and six INT8 models of it (--algo_list hist mse
--batch_size_list 4 8 16) to choose from.
The models and report.json go to compress/ in the model's folder, and so does the state of an
interrupted run, which goes on when its command is given again; --output_dir is PaddleNLP's, and nothing
is left there. --no_pruning only quantizes, --no_quantization only prunes. Pruning trains with the
hyper-parameters of config.yml unless a flag gives them.
"""

from utils import TOKEN_CLS, parse_arguments, run  # isort: skip  (sets up paddle before it is imported)

import os

from compression import CompressionArguments
from trainer import build_trainer


def main() -> None:
    model_args, data_args, args, compression_args = parse_arguments(TOKEN_CLS, CompressionArguments)
    args.do_train = True
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
