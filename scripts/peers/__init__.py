"""PyTorch and JAX beside eabench: the same model, timed side by side. eabench itself needs none of this."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "python"))  # eabench_torch
