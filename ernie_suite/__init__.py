"""Training, compression and evaluation of lightweight ERNIE models: what utils.py and the scripts are made of.

Each module imports only from those above it (but for the trainer, whose compress() imports compression/ when it is
called, as what that needs is slow to import):

    reading, tasks/         how the files of a data set are read; all in which the task families differ
    analysis/               what --analyze says of their answers; its trained.py needs the trainer
    texts                   the texts in any other file
    sample_data, data       the sample data sets; all data sets, by name
    answered_split          a split of any size, for infer.py
    annotation/             exports of annotation tools as data sets, and answers as what those tools import
    description/            a data set before training, in numbers and as a picture
    features, sampler       examples as batches
    models, export          the folder of a model, read and written
    runs                    what decides the result of a run, how an interrupted one goes on, and what it leaves
    unlabeled               text without labels for a teacher to answer, mixed with the labelled text
    figures                 where the figures of infer.py go
    regularisation          what keeps a training on few labels from learning them by heart
    callbacks, trainer      PaddleNLP's Trainer with what is missing there
    compression/            pruning and quantization
    folds                   k-fold training
    arguments               the flags, their defaults, and what can be wrong with them
    command_line, scripts   flags and config.yml put together; what run_*.py and compress_*.py do

Importing this package sets the process up, once and before paddle is imported anywhere: see cpu_settings.py.
"""

import sys
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "deploy" / "python"))  # ernie_inference

from ernie_suite.cpu_settings import set_up_processor

from ernie_inference.quiet_imports import hide_progress_of_paddlenlp, import_paddle

set_up_processor()
hide_progress_of_paddlenlp()
import_paddle()
