"""Compress a fine-tuned model for reading comprehension: prune, quantize, choose the best.

    python compress_qa.py --dataset "clue cmrc2018" --model_name_or_path best_models/CMRC2018 --output_dir ./
    python compress_qa.py --task_name sample_reading --model_name_or_path best_models/SAMPLE_READING

The flags, what is made and where it goes: --help, or CompressionArguments in ernie_suite/compression/config.py.
"""

from utils import QA, compress

if __name__ == "__main__":
    compress(QA)
