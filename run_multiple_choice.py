"""Fine-tune, evaluate, predict with and export a model for multiple choice.

    python run_multiple_choice.py --task_name c3
    python run_multiple_choice.py --task_name chid --model_name_or_path ernie-3.0-medium-zh --do_train
    python run_multiple_choice.py --task_name sample_choice --model_name_or_path samples/ernie-sample-zh

With none of --do_train, --do_eval, --do_predict, --do_export: train, evaluate, export. Hyper-parameters
come from config.yml unless a flag gives them. An interrupted run goes on when its command is given again; a
finished training is not repeated without --overwrite_output_dir.
Several processes: python -m paddle.distributed.launch --nproc_per_node 2 run_multiple_choice.py ...
"""

from utils import MULTIPLE_CHOICE, finetune

if __name__ == "__main__":
    finetune(MULTIPLE_CHOICE)
