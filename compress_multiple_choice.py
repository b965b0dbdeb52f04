"""Compress a fine-tuned model for multiple choice: prune, quantize, choose the best.

    python compress_multiple_choice.py --dataset "clue c3" --model_name_or_path best_models/C3 --output_dir ./
    python compress_multiple_choice.py --task_name sample_choice --model_name_or_path best_models/SAMPLE_CHOICE

The flags, what is made and where it goes: --help, or CompressionArguments in ernie_suite/compression/config.py.
"""

from utils import MULTIPLE_CHOICE, compress

if __name__ == "__main__":
    compress(MULTIPLE_CHOICE)
