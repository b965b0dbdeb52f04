"""Serve a tagging model, over gRPC and HTTP.

    python deploy/serving/model_to_serving.py --model_path best_models/MSRA_NER/export/model
    python deploy/serving/token_cls_service.py
    python deploy/serving/token_cls_service.py --model_dir best_models/MSRA_NER/serving_int8 --precision int8

token_cls_config.yml explains the options; a flag on the command line beats it.
"""

from ernie_serving.supervisor import serve

if __name__ == "__main__":
    serve("token_cls", __doc__)
