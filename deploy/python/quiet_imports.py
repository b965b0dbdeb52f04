"""Importing this keeps warnings off the screen that libraries give of each other when they are imported.

jieba 0.42.1 and paddleslim 2.6.0 import pkg_resources, and setuptools 80 warns of that and of what it does to distutils
(which Paddle 2.6.2 has imported before). Nobody who runs a script can do anything about it. It can go when paddlenlp
and paddleslim need neither.
"""

import warnings

MESSAGES = (
    "pkg_resources is deprecated as an API",
    "Deprecated call to `pkg_resources",
    "Setuptools is replacing distutils",
    "Distutils was imported before Setuptools",
)
for message in MESSAGES:
    warnings.filterwarnings("ignore", message=message)  # before all others, those of -W and PYTHONWARNINGS too
