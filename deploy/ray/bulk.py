"""Answers for files of any size, on one machine or many, with Ray: the same rows, with an answer to each.

    python deploy/ray/bulk.py --model_path best_models/TNEWS/export/model.onnx \\
        --input_path texts.jsonl --output_dir answers --num_workers 2
    python deploy/ray/bulk.py --model_path best_models/TNEWS/export/model.onnx --engine openvino \\
        --input_path s3://bucket/texts --output_dir s3://bucket/answers --text_column review --address auto

JSON lines or Parquet in, the same out, in parts. A run that ended early goes on when the same command is given again.
"""

from ernie_ray.command import run_bulk

if __name__ == "__main__":
    run_bulk(__doc__)
