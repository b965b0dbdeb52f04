"""The client of the multiple_choice service; --help says how to ask."""

from ernie_serving.client_command import run_client

if __name__ == "__main__":
    run_client("multiple_choice")
