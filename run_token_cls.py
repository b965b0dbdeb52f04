"""Fine-tune, evaluate, predict with and export a model for tagging entities.

    python run_token_cls.py --task_name msra_ner
    python run_token_cls.py --task_name msra_ner --model_name_or_path ernie-3.0-medium-zh --do_train
    python run_token_cls.py --task_name sample_people_daily --model_name_or_path samples/ernie-sample-zh

With none of --do_train, --do_eval, --do_predict, --do_export: train, evaluate, export. Hyper-parameters
come from config.yml unless a flag gives them. An interrupted run goes on when its command is given again; a
finished training is not repeated without --overwrite_output_dir.
Several processes: python -m paddle.distributed.launch --nproc_per_node 2 run_token_cls.py ...
"""

from utils import TOKEN_CLS, finetune

if __name__ == "__main__":
    finetune(TOKEN_CLS)
