"""Serve a reading model, over gRPC and HTTP.

    python deploy/serving/model_to_serving.py --model_path best_models/CMRC2018/export/model
    python deploy/serving/qa_service.py
    python deploy/serving/qa_service.py --model_dir best_models/CMRC2018/serving_int8 --precision int8

qa_config.yml explains the options; a flag on the command line beats it.
"""

from ernie_serving.supervisor import serve

if __name__ == "__main__":
    serve("qa", __doc__)
