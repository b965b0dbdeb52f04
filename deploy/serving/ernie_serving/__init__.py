"""A service of an exported model over gRPC and HTTP, on the pipelines of Paddle Serving, and its client.

    protocol                        what clients and the service say to each other; limits on a request
    client, retries, access,        asks a service; needs no paddle, and nothing of what is below
    messages
    client_command                  the four *_rpc_client.py
    service_config, ports           what can be set; where a service listens
    supervisor, worker_process      the process that *_service.py is, and a worker as it sees it
    http_server, http_connection,   HTTP, for the monitor and for requests
    http_app
    monitor, metrics                health and counts, for probes and Prometheus
    service_command                 the four *_service.py
    worker                          the program of a worker process
    service, models                 requests in, answers out
    http_front, openapi, docs_page  the way in over HTTP, and what describes it
    rpc_front                       the way in over gRPC
    entrance                        what the ways in share: of tls, api_keys, request_ids, request_log
    watched_files                   files that are read again when they change
    pipeline_ops, serving_library   the pipeline that computes them; what it uses of paddle-serving-server
    model_to_serving                the folder that a service loads

A program of your own puts deploy/serving on its path: from ernie_serving.client import Client.
"""

import sys
from pathlib import Path

INFERENCE = Path(__file__).resolve().parents[2] / "python"  # where ernie_inference is, if it is not installed
if INFERENCE.is_dir():
    sys.path.insert(1, str(INFERENCE))
