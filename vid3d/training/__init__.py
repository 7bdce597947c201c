"""CONFIG -> TRAINED CHECKPOINTS in a workdir. Start with `loop.py`, which is the training; `steps.py` is one step of it."""
