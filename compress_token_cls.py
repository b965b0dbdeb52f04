"""Compress a fine-tuned model for tagging of entities: prune, quantize, choose the best.

    python compress_token_cls.py --dataset "msra_ner" --model_name_or_path best_models/MSRA_NER --output_dir ./
    python compress_token_cls.py --task_name sample_people_daily --model_name_or_path best_models/SAMPLE_PEOPLE_DAILY

The flags, what is made and where it goes: --help, or CompressionArguments in ernie_suite/compression/config.py.
"""

from utils import TOKEN_CLS, compress

if __name__ == "__main__":
    compress(TOKEN_CLS)
