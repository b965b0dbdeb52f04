"""The service of several models; --help says how to start it."""

from ernie_serving.service_command import run_services

if __name__ == "__main__":
    run_services()
