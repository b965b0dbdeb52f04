"""Ask the tagging service.

    python deploy/serving/token_cls_rpc_client.py
    python deploy/serving/token_cls_rpc_client.py --texts "北京的秋天很美" --repeat 20
    python deploy/serving/token_cls_rpc_client.py --endpoints 10.0.0.1:18090,10.0.0.2:18090 \\
        --input_file texts.jsonl --output_file answers.jsonl
    python deploy/serving/token_cls_rpc_client.py --task_name msra_ner --concurrency 4
"""

from ernie_serving.client import run_client

if __name__ == "__main__":
    run_client("token_cls", __doc__)
