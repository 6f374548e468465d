"""PyTorch and JAX beside eabench: the same model, timed side by side. eabench itself needs none of this."""
