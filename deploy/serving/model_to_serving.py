"""From an exported or compressed model to the folder that Paddle Serving loads.

    python deploy/serving/model_to_serving.py --model_path best_models/TNEWS/export/model
    python deploy/serving/model_to_serving.py --model_path best_models/TNEWS/compress/0.75/hist16/int8 \\
        --output_dir best_models/TNEWS/serving_int8

The folder holds the model, serving_server_conf.prototxt (names, types and shapes of its inputs and outputs), and
the vocabulary and inference.json, which say how texts become inputs and outputs answers.

This stands in for `python -m paddle_serving_client.convert`, which ends with "No module named 'paddle.fluid'" since
paddle 2.5 (https://github.com/PaddlePaddle/Serving/issues/1985); it can go when that works again.
"""

from ernie_serving.model_to_serving import run_converter

if __name__ == "__main__":
    run_converter(__doc__)
