"""What all ways into a service share: TLS, API keys, and the log of requests."""

import ipaddress
import ssl
from typing import List, Optional

from ernie_inference.errors import InputError
from ernie_serving.api_keys import ApiKeys
from ernie_serving.metrics import Metrics
from ernie_serving.request_log import RequestLog, check_log
from ernie_serving.service_config import ServiceConfig
from ernie_serving.tls import certificates_of


class Entrance:
    """In a worker: who may come in, how, and what is noted of it.

    Attributes:
        certificates: for TLS; None: not encrypted.
        keys: that requests need.
        log: of requests.

    Raises:
        InputError: a file that an option names cannot be used.
    """

    def __init__(self, config: ServiceConfig, metrics: Metrics):
        self.certificates = certificates_of(config.tls_cert, config.tls_key, config.tls_client_ca)
        self.keys = ApiKeys(config.api_key_file)
        self.log = RequestLog(config.request_log, config.request_log_texts, metrics.log_lines_lost)


def check_entrance(config: ServiceConfig) -> List[str]:
    """Whether a service can be entered so, before anything else is done for it. Returns warnings, a line each.

    Raises:
        InputError: a file that an option names cannot be used.
    """
    certificates_of(config.tls_cert, config.tls_key, config.tls_client_ca)
    keys = ApiKeys(config.api_key_file)
    check_log(config.request_log)
    if keys.required or config.tls_client_ca or is_loopback(config.host):
        return []
    return [f"warning: whoever reaches host {config.host} can use this service: set api_key_file, or tls_client_ca"]


def monitor_tls(config: ServiceConfig) -> Optional[ssl.SSLContext]:
    """TLS of the monitor; None: it is not encrypted. It asks nobody for a certificate, as probes have none.

    Raises:
        InputError: there is no certificate for it.
    """
    if not config.monitor_tls:
        return None
    certificates = certificates_of(config.tls_cert, config.tls_key, "")
    if certificates is None:
        raise InputError("monitor_tls needs a certificate: give tls_cert and tls_key too")
    return certificates.ssl_context()


def is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        return False
