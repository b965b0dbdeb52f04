"""The command that the three *_service.py are: it serves a model of a task."""

import sys

from ernie_inference.console import run_command
from ernie_serving.service_config import config_file, parse_config
from ernie_serving.supervisor import Supervisor

HELP = """Serve a {task} model, over gRPC and HTTP.

    python deploy/serving/model_to_serving.py --model_path best_models/MODEL/export/model
    python deploy/serving/{task}_service.py --model_dir best_models/MODEL/serving
    python deploy/serving/{task}_service.py --model_dir best_models/MODEL/serving_int8 --precision int8
    python deploy/serving/{task}_service.py --config my.yml

Without flags it serves what {task}_config.yml says, and a flag beats a config file. options.yml, beside it, explains
the options at length.
"""


def run_service(task_name: str) -> None:
    """The command of a task's service."""

    def main() -> None:
        config = parse_config(config_file(task_name), HELP.format(task=task_name))
        sys.exit(Supervisor(task_name, config).run())

    run_command(main)
