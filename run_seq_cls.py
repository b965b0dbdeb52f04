"""Fine-tune, evaluate, predict with and export a model for classification of texts and of pairs of texts.

    python run_seq_cls.py --task_name tnews
    python run_seq_cls.py --task_name tnews --model_name_or_path ernie-3.0-base-zh --do_train
    python run_seq_cls.py --task_name sample_reviews --model_name_or_path samples/ernie-sample-zh

With none of --do_train, --do_eval, --do_predict, --do_export: train, evaluate, export. Hyper-parameters
come from config.yml unless a flag gives them. An interrupted run goes on when its command is given again; a
finished training is not repeated without --overwrite_output_dir.
Several processes: python -m paddle.distributed.launch --nproc_per_node 2 run_seq_cls.py ...
"""

from utils import SEQ_CLS, finetune

if __name__ == "__main__":
    finetune(SEQ_CLS)
