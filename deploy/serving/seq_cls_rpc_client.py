"""Ask the classification service.

    python deploy/serving/seq_cls_rpc_client.py
    python deploy/serving/seq_cls_rpc_client.py --texts "今天股市大涨" "国足又输了" --repeat 20
    python deploy/serving/seq_cls_rpc_client.py --endpoints 10.0.0.1:18090,10.0.0.2:18090 \\
        --input_file texts.jsonl --output_file answers.jsonl
    python deploy/serving/seq_cls_rpc_client.py --task_name tnews --concurrency 4
"""

from ernie_serving.client import run_client

if __name__ == "__main__":
    run_client("seq_cls", __doc__)
