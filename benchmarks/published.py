"""The figures published with ERNIE 3.0's lightweight models, in PaddleNLP's example model_zoo/ernie-3.0: its four
tables as they stand there, with English names for the rows.

Table 1 is CLUE's ten dev sets; its rows have PaddleNLP's names of the models here. How each of them was fine-tuned is
published beside the same table in PaddleNLP's examples/benchmark/clue: hyper_parameters() and GRIDS.
The others are ERNIE 3.0-Medium: accuracy after compression, and speed with batches of 32 on an Intel Xeon
Gold 6271C (12 threads) and on a T4. CMRC2018 is exact match / F1, MSRA_NER precision / recall / F1.
"""

import re
from typing import Dict, List, NamedTuple, Tuple

Figures = Tuple[float, ...]
PublishedTable = Dict[str, Dict[str, Figures]]  # row to column to figures


def parse(text: str) -> PublishedTable:
    """A table with | between its cells; a cell is one figure or more: "56.57(-0.88)", "66.95/87.15", "600.35(1.9x)"."""
    (_, *columns), *rows = ([cell.strip() for cell in line.split("|")] for line in text.strip().splitlines())
    number = re.compile(r"[-+]?\d+\.\d+")
    return {
        name: {column: tuple(map(float, number.findall(cell))) for column, cell in zip(columns, cells)}
        for name, *cells in rows
    }


CLUE = parse("""
model                         |AVG  |AFQMC|TNEWS|IFLYTEK|CMNLI|OCNLI|CLUEWSC2020|CSL  |CMRC2018   |CHID |C3
ernie-2.0-large-zh            |77.03|76.41|59.67|62.29  |83.82|79.69|89.14      |84.10|71.48/90.35|85.52|78.12
hfl/roberta-wwm-ext-large     |76.61|76.00|59.33|62.02  |83.88|78.81|90.79      |83.67|70.58/89.82|85.72|75.26
ernie-3.0-xbase-zh            |78.71|76.85|59.89|62.41  |84.76|82.51|89.80      |84.47|75.49/92.67|86.36|84.59
ernie-3.0-base-zh             |76.05|75.93|58.26|61.56  |83.02|80.10|86.18      |82.63|70.71/90.41|84.26|77.88
ernie-gram-zh                 |75.72|75.28|57.88|60.87  |82.90|79.08|88.82      |82.83|71.82/90.38|84.04|73.69
ernie-2.0-base-zh             |74.95|76.25|58.53|61.72  |83.07|78.81|84.21      |82.77|68.22/88.71|82.78|73.19
Langboat/mengzi-bert-base     |74.69|75.35|57.76|61.64  |82.41|77.93|88.16      |82.20|67.04/88.35|83.74|70.70
ernie-1.0-base-zh             |74.17|74.84|58.91|62.25  |81.68|76.58|85.20      |82.77|67.32/87.83|82.47|69.68
hfl/roberta-wwm-ext           |74.11|74.60|58.08|61.23  |81.11|76.92|88.49      |80.77|68.39/88.50|83.43|68.03
bert-base-chinese             |72.57|74.63|57.13|61.29  |80.97|75.22|81.91      |81.90|65.30/86.53|82.01|65.38
ernie-3.0-medium-zh           |72.49|73.37|57.00|60.67  |80.64|76.88|79.28      |81.60|65.83/87.30|79.91|69.73
hfl/rbt6                      |69.74|73.15|56.62|59.68  |79.26|73.15|75.00      |80.04|62.26/84.72|78.26|59.93
tinybert-6l-768d-zh           |69.58|72.22|55.70|54.48  |79.12|74.07|77.63      |80.17|62.63/83.72|77.64|62.11
roformer_v2_chinese_char_small|68.52|72.47|56.53|60.72  |76.37|72.95|75.00      |81.07|62.97/83.64|67.66|59.41
uer/chinese-roberta-6l-768h   |66.67|70.13|56.41|59.79  |77.38|71.86|69.41      |76.73|53.22/75.03|77.00|54.77
ernie-3.0-mini-zh             |66.90|71.85|55.24|54.48  |77.19|73.08|71.05      |79.30|58.53/81.97|69.71|58.60
ernie-3.0-micro-zh            |64.21|71.15|55.05|53.83  |74.81|70.41|69.08      |76.50|53.77/77.82|62.26|55.53
ernie-3.0-nano-zh             |62.97|70.51|54.57|48.36  |74.97|70.61|68.75      |75.93|52.00/76.35|58.91|55.11
""")

# The newer models of these sizes, which table 1 does not have.
NEWER_MODELS = [f"ernie-3.0-tiny-{size}-v2-zh" for size in ("base", "medium", "mini", "micro", "nano", "pico")]

# What PaddleNLP 2.8.1 cannot load, by the classes that it has not: model to data sets to the class.
MISSING_CLASSES = {
    "ernie-gram-zh": {"ErnieGramForMultipleChoice": ("chid", "c3")},
    "tinybert-6l-768d-zh": {"TinyBertForTokenClassification": ("msra_ner",)},
}


def why_not(model: str, dataset: str) -> str:
    """Why the installed PaddleNLP cannot fine-tune a model on a data set; empty where it can."""
    for name, datasets in MISSING_CLASSES.get(model, {}).items():
        if dataset in datasets:
            return f"PaddleNLP 2.8.1 has no {name}"
    return ""


# What was fixed for each data set in fine-tuning, and the learning rate and batch size that were best for each model.
FIXED = {
    "num_train_epochs": "3 3 3 2 5 50 5 2 3 8",
    "max_seq_length": "128 128 128 128 128 128 256 512 64 512",
    "warmup_ratio": "0.1 0.1 0.1 0.1 0.1 0.1 0.1 0.1 0.06 0.1",
}
BEST_OF_THE_GRID = """
ernie-2.0-large-zh             | 1e-5,32 3e-5,64 3e-5,32 2e-5,32 1e-5,16 3e-5,32 1e-5,64 2e-5,24 2e-5,24 3e-5,32
hfl/roberta-wwm-ext-large      | 1e-5,32 3e-5,32 2e-5,32 1e-5,16 1e-5,16 2e-5,16 2e-5,16 3e-5,32 1e-5,24 2e-5,24
ernie-3.0-xbase-zh             | 2e-5,16 3e-5,32 3e-5,32 3e-5,64 3e-5,64 2e-5,32 1e-5,16 3e-5,24 2e-5,24 3e-5,24
ernie-3.0-base-zh              | 3e-5,16 3e-5,32 5e-5,32 3e-5,32 2e-5,64 2e-5,16 2e-5,32 2e-5,24 3e-5,24 3e-5,32
ernie-gram-zh                  | 1e-5,16 5e-5,16 5e-5,16 2e-5,32 2e-5,64 3e-5,16 3e-5,64 3e-5,32 2e-5,24 2e-5,24
ernie-2.0-base-zh              | 3e-5,64 3e-5,64 5e-5,16 5e-5,64 5e-5,32 5e-5,16 2e-5,16 2e-5,32 3e-5,24 3e-5,32
Langboat/mengzi-bert-base      | 3e-5,32 5e-5,32 5e-5,16 2e-5,16 2e-5,16 3e-5,8  1e-5,16 3e-5,24 3e-5,24 2e-5,32
ernie-1.0-base-zh              | 3e-5,16 3e-5,32 5e-5,16 5e-5,32 3e-5,16 2e-5,8  2e-5,16 3e-5,32 3e-5,24 3e-5,24
hfl/roberta-wwm-ext            | 3e-5,32 3e-5,64 5e-5,16 3e-5,32 2e-5,32 3e-5,32 2e-5,32 3e-5,32 2e-5,32 3e-5,24
bert-base-chinese              | 2e-5,16 5e-5,16 5e-5,16 5e-5,64 3e-5,16 3e-5,16 1e-5,16 3e-5,24 2e-5,32 3e-5,24
ernie-3.0-medium-zh            | 3e-5,32 3e-5,64 5e-5,32 2e-5,32 1e-5,64 3e-5,16 2e-5,32 3e-5,24 2e-5,24 1e-5,24
hfl/rbt6                       | 3e-5,16 5e-5,16 5e-5,16 5e-5,64 3e-5,16 3e-5,8  5e-5,64 2e-5,24 3e-5,32 2e-5,32
tinybert-6l-768d-zh            | 1e-5,16 3e-5,32 5e-5,16 5e-5,32 3e-5,64 3e-5,16 3e-5,16 3e-5,32 3e-5,24 2e-5,24
roformer_v2_chinese_char_small | 5e-5,16 2e-5,16 5e-5,16 5e-5,32 2e-5,16 3e-5,8  3e-5,16 3e-5,24 3e-5,24 3e-5,24
uer/chinese-roberta-6l-768h    | 2e-5,16 3e-5,16 5e-5,16 5e-5,16 5e-5,32 2e-5,32 3e-5,16 3e-5,32 3e-5,24 3e-5,24
ernie-3.0-mini-zh              | 5e-5,64 5e-5,64 5e-5,16 5e-5,32 2e-5,16 2e-5,8  2e-5,16 3e-5,24 3e-5,24 3e-5,24
ernie-3.0-micro-zh             | 3e-5,16 5e-5,32 5e-5,16 5e-5,16 2e-5,32 5e-5,16 3e-5,64 3e-5,24 3e-5,32 3e-5,24
ernie-3.0-nano-zh              | 2e-5,32 5e-5,16 5e-5,16 5e-5,16 3e-5,16 1e-5,8  3e-5,32 3e-5,24 3e-5,24 2e-5,24
"""


def hyper_parameters(model: str, dataset: str) -> Dict[str, str]:
    """How a model of table 1 was fine-tuned on a data set, by flag; empty for any other.

    Batches of CMRC 2018, CHID and C3 are those of several cards together. On IFLYTEK and CLUEWSC2020 some models were
    trained without dropout besides, for which there is no flag here.
    """
    columns = [column for column in CLUE[COMPRESSED_MODEL] if column != "AVG"]
    best = dict(map(str.strip, line.split("|")) for line in BEST_OF_THE_GRID.strip().splitlines())
    if model not in best or dataset.upper() not in columns:
        return {}
    number = columns.index(dataset.upper())
    rate, size = best[model].split()[number].split(",")
    fixed = {name: values.split()[number] for name, values in FIXED.items()}
    return {"learning_rate": rate, "per_device_train_batch_size": size, **fixed}


class Searched(NamedTuple):
    """The learning rates and batch sizes that were tried."""

    learning_rates: List[str]
    batch_sizes: List[int]


OF_CLASSIFICATION = Searched(["1e-5", "2e-5", "3e-5", "5e-5"], [16, 32, 64])
OF_READING = Searched(["1e-5", "2e-5", "3e-5"], [24, 32])
GRIDS = {
    **dict.fromkeys(("cmrc2018", "chid", "c3"), OF_READING),
    "cluewsc2020": Searched(OF_CLASSIFICATION.learning_rates, [8, *OF_CLASSIFICATION.batch_sizes]),
}

COMPRESSION = parse("""
variant       | AVG   | AFQMC | TNEWS | IFLYTEK | CMNLI | OCNLI | CLUEWSC2020 | CSL | CMRC2018 | MSRA_NER
FP32          | 74.87 | 75.35 | 57.45 | 60.18 | 81.16 | 77.19 | 80.59 | 81.93 | 66.95/87.15 | 92.65/93.43/93.04
FP16          | 74.87 | 75.32 | 57.45 | 60.22 | 81.16 | 77.22 | 80.59 | 81.90 | 66.95/87.16 | 92.65/93.45/93.05
pruned + FP32 | 74.70 | 75.14 | 57.31 | 60.29 | 81.25 | 77.46 | 79.93 | 81.70 | 65.92/86.43 | 93.10/93.43/93.27
pruned + FP16 | 74.71 | 75.21 | 57.27 | 60.29 | 81.24 | 77.56 | 79.93 | 81.73 | 65.89/86.44 | 93.10/93.43/93.27
pruned + INT8 | 74.44 | 75.02 | 57.26 | 60.37 | 81.03 | 77.25 | 77.96 | 81.67 | 66.17/86.55 | 93.17/93.23/93.20
INT8          | 74.10 | 74.67 | 56.99 | 59.91 | 81.03 | 75.05 | 78.62 | 81.60 | 66.32/86.82 | 93.10/92.90/92.70
""")
COMPRESSED_MODEL = "ernie-3.0-medium-zh"
PRUNED_INT8_LOSS_IN_THE_TEXT = 0.46  # the table gives 74.87 - 74.44 = 0.43

SPEED = {
    "cpu": parse("""
variant       | TNEWS speed  | TNEWS        | MSRA_NER speed | MSRA_NER     | CMRC2018 speed | CMRC2018
FP32          | 311.95(1.0x) | 57.45        | 90.91(1.0x)    | 93.04        | 33.74(1.0x)    | 66.95
INT8          | 600.35(1.9x) | 56.57(-0.88) | 141.00(1.6x)   | 92.64(-0.40) | 56.51(1.7x)    | 66.23(-0.72)
pruned + FP32 | 408.65(1.3x) | 57.31(-0.14) | 122.13(1.3x)   | 93.27(+0.23) | 48.47(1.4x)    | 65.55(-1.40)
pruned + INT8 | 704.42(2.3x) | 56.69(-0.76) | 215.58(2.4x)   | 92.39(-0.65) | 75.23(2.2x)    | 63.47(-3.48)
"""),
    "gpu": parse("""
variant       | TNEWS speed   | TNEWS        | MSRA_NER speed | MSRA_NER     | CMRC2018 speed | CMRC2018
FP32          | 1123.85(1.0x) | 57.45        | 366.75(1.0x)   | 93.04        | 146.84(1.0x)   | 66.95
FP16          | 2672.41(2.4x) | 57.45(0.00)  | 840.11(2.3x)   | 93.05(0.01)  | 303.43(2.1x)   | 66.95(0.00)
INT8          | 3226.26(2.9x) | 56.99(-0.46) | 889.33(2.4x)   | 92.70(-0.34) | 348.84(2.4x)   | 66.32(-0.63)
pruned + FP32 | 1424.01(1.3x) | 57.31(-0.14) | 454.27(1.2x)   | 93.27(+0.23) | 183.77(1.3x)   | 65.92(-1.03)
pruned + FP16 | 3577.62(3.2x) | 57.27(-0.18) | 1138.77(3.1x)  | 93.27(+0.23) | 445.71(3.0x)   | 65.89(-1.06)
pruned + INT8 | 3635.48(3.2x) | 57.26(-0.19) | 1105.26(3.0x)  | 93.20(+0.16) | 444.27(3.0x)   | 66.17(-0.78)
"""),
}
SPEED_DATASETS = ("tnews", "msra_ner", "cmrc2018")
MACHINES = {
    "cpu": "Intel Xeon Gold 6271C, 12 threads, PaddlePaddle 2.3",
    "gpu": "T4, CUDA 11.2, cuDNN 8.2, PaddlePaddle 2.3",
}
