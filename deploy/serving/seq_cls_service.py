"""Serve a classification model, over gRPC and HTTP.

    python deploy/serving/model_to_serving.py --model_path best_models/TNEWS/export/model
    python deploy/serving/seq_cls_service.py
    python deploy/serving/seq_cls_service.py --model_dir best_models/TNEWS/serving_int8 --precision int8

seq_cls_config.yml explains the options; a flag on the command line beats it.
"""

from ernie_serving.supervisor import serve

if __name__ == "__main__":
    serve("seq_cls", __doc__)
