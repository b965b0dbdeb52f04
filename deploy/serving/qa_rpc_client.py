"""Ask the reading service.

    python deploy/serving/qa_rpc_client.py
    python deploy/serving/qa_rpc_client.py --texts '["大桥有多长？", "大桥全长55公里。"]' --repeat 20
    python deploy/serving/qa_rpc_client.py --endpoints 10.0.0.1:18090,10.0.0.2:18090 \\
        --input_file texts.jsonl --output_file answers.jsonl
    python deploy/serving/qa_rpc_client.py --task_name cmrc2018 --concurrency 4
"""

from ernie_serving.client import run_client

if __name__ == "__main__":
    run_client("qa", __doc__)
