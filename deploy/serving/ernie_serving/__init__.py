"""A service of an exported model over gRPC and HTTP, on the pipelines of Paddle Serving, and its client.

    protocol                        what clients and the service say to each other
    client, messages                asks a service; needs neither paddle nor the modules below
    client_command                  the three *_rpc_client.py
    service_config, ports           what can be set; where a service listens
    supervisor, worker_process      the process that *_service.py is, and a worker as it sees it
    monitor, metrics                health and counts, for probes and Prometheus
    service_command                 the three *_service.py
    worker                          the program of a worker process, which answers requests:
    service, http_front             requests in, answers out, over gRPC and over HTTP
    pipeline_ops, serving_library   the pipeline that computes them; what it uses of paddle-serving-server
    model_to_serving                the folder that a service loads

A program of your own puts deploy/serving on its path: from ernie_serving.client import Client.
"""

import sys
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parents[2] / "python"))  # ernie_inference
