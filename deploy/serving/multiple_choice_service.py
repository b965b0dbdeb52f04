"""The service of multiple_choice models; --help says how to start it."""

from ernie_serving.service_command import run_service

if __name__ == "__main__":
    run_service("multiple_choice")
