"""The figures published with ERNIE 3.0's lightweight models, in PaddleNLP's example model_zoo/ernie-3.0: its four
tables as they stand there, with English names for the rows.

Table 1 is CLUE's dev sets; its average is over ten sets, of which this suite has no script for CHID and C3.
The others are ERNIE 3.0-Medium: accuracy after compression, and speed with batches of 32 on an Intel Xeon
Gold 6271C (12 threads) and on a T4. CMRC2018 is exact match / F1, MSRA_NER precision / recall / F1.
"""

import re
from typing import Dict, Tuple

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
model              | AVG   | AFQMC | TNEWS | IFLYTEK | CMNLI | OCNLI | CLUEWSC2020 | CSL   | CMRC2018    | CHID  | C3
ernie-3.0-xbase-zh  | 78.71 | 76.85 | 59.89 | 62.41 | 84.76 | 82.51 | 89.80 | 84.47 | 75.49/92.67 | 86.36 | 84.59
ernie-3.0-base-zh   | 76.05 | 75.93 | 58.26 | 61.56 | 83.02 | 80.10 | 86.18 | 82.63 | 70.71/90.41 | 84.26 | 77.88
ernie-3.0-medium-zh | 72.49 | 73.37 | 57.00 | 60.67 | 80.64 | 76.88 | 79.28 | 81.60 | 65.83/87.30 | 79.91 | 69.73
ernie-3.0-mini-zh   | 66.90 | 71.85 | 55.24 | 54.48 | 77.19 | 73.08 | 71.05 | 79.30 | 58.53/81.97 | 69.71 | 58.60
ernie-3.0-micro-zh  | 64.21 | 71.15 | 55.05 | 53.83 | 74.81 | 70.41 | 69.08 | 76.50 | 53.77/77.82 | 62.26 | 55.53
ernie-3.0-nano-zh   | 62.97 | 70.51 | 54.57 | 48.36 | 74.97 | 70.61 | 68.75 | 75.93 | 52.00/76.35 | 58.91 | 55.11
""")

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
