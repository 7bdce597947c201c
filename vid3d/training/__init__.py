"""CONFIG -> TRAINED CHECKPOINTS in a workdir.

Start with `loop.py`, the training loop; `steps.py` is one step of it.
"""
