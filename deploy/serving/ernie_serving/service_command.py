"""The commands that the *_service.py and service.py are: they serve a model of a task, or several models of any."""

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
HELP_OF_SEVERAL = """Serve several models, of any tasks, over gRPC and HTTP.

    python deploy/serving/service.py --config deploy/serving/models_config.yml

The config file names the models. What a model does not have for itself, stands at the top of the file for all, or is a
flag, which beats that. options.yml, beside it, explains the options at length.
"""


def run_service(task_name: str) -> None:
    """The command of a task's service."""

    def main() -> None:
        config = parse_config(config_file(task_name), HELP.format(task=task_name), name=task_name)
        sys.exit(Supervisor(config, task_name).run())

    run_command(main)


def run_services() -> None:
    """The command of a service of several models."""

    def main() -> None:
        sys.exit(Supervisor(parse_config(None, HELP_OF_SEVERAL)).run())

    run_command(main)
