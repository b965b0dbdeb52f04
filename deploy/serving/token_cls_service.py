"""The service of token_cls models; --help says how to start it."""

from ernie_serving.service_command import run_service

if __name__ == "__main__":
    run_service("token_cls")
