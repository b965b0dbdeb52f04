"""Compress a fine-tuned model for classification of texts and of pairs of texts: prune, quantize, choose the best.

    python compress_seq_cls.py --dataset "clue tnews" --model_name_or_path best_models/TNEWS --output_dir ./
    python compress_seq_cls.py --task_name sample_reviews --model_name_or_path best_models/SAMPLE_REVIEWS

The flags, what is made and where it goes: --help, or CompressionArguments in ernie_suite/compression/config.py.
"""

from utils import SEQ_CLS, compress

if __name__ == "__main__":
    compress(SEQ_CLS)
