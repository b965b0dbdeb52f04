"""gRPC: Serving's pipeline requests, and the standard health check."""

import time
from concurrent import futures

import grpc

from ernie_serving.metrics import Metrics
from ernie_serving.models import Models
from ernie_serving.protocol import RPC_METHOD, Refusal, fields_of_rpc
from ernie_serving.service_config import ServiceConfig
from ernie_serving.serving_library import pb2

HANDSHAKE_SECONDS, IDLE_SECONDS = 10, 300  # then gRPC closes a connection that is half open, or without a call
SPARE_RPCS = 32  # beside those that wait for the model: health checks, and requests to be refused
HEALTH_METHOD = "/grpc.health.v1.Health/Check"
SERVING, NOT_SERVING = b"\x08\x01", b"\x08\x02"  # HealthCheckResponse {status = 1 or 2}


def rpc_server(models: Models, config: ServiceConfig, metrics: Metrics, address: str) -> grpc.Server:
    """A gRPC server, listening, for pipeline requests and for the standard health check (grpc.health.v1).

    PipelineServer of 0.9.0 listens on all interfaces, takes messages of 256 MB, and queues requests without limit.
    """
    most = config.queue_size + SPARE_RPCS
    server = grpc.server(
        futures.ThreadPoolExecutor(most, thread_name_prefix="rpc"),
        maximum_concurrent_rpcs=most,
        options=[
            ("grpc.max_receive_message_length", config.max_request_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 1),  # replicas share the port
            ("grpc.max_allowed_incoming_connections", config.max_connections),
            ("grpc.server_handshake_timeout_ms", HANDSHAKE_SECONDS * 1000),
            ("grpc.max_connection_idle_ms", IDLE_SECONDS * 1000),
        ],
    )

    def inference(request, context):
        started = time.monotonic()
        try:
            service = models.get(request.name)
        except Refusal as refusal:
            metrics.request(request.name, refusal.code, 0, time.monotonic() - started)
            return pb2.Response(err_no=refusal.code, err_msg=refusal.message)
        return service.answer(lambda: fields_of_rpc(request), context.time_remaining())

    def check(request, context):
        return NOT_SERVING if models.stopping else SERVING

    handlers = {
        RPC_METHOD: grpc.unary_unary_rpc_method_handler(
            inference, pb2.Request.FromString, pb2.Response.SerializeToString
        ),
        HEALTH_METHOD: grpc.unary_unary_rpc_method_handler(check),
    }
    for method, handler in handlers.items():
        _, service_name, method_name = method.split("/")
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service_name, {method_name: handler}),))
    server.add_insecure_port(address)
    server.start()
    return server
