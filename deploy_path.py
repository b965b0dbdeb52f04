"""Importing this makes deploy/python importable, where the text-to-answer code lives so that it can be used alone."""

import sys
from pathlib import Path

DEPLOY_PYTHON = Path(__file__).resolve().parent / "deploy" / "python"
if str(DEPLOY_PYTHON) not in sys.path:
    sys.path.insert(1, str(DEPLOY_PYTHON))
