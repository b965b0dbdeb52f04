"""A service of an exported model over gRPC and HTTP, and its client."""

import sys
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parents[2] / "python"))  # ernie_inference
