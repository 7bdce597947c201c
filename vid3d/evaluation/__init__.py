"""CHECKPOINTS -> NUMBERS. In: a workdir; out: predictions, metrics with intervals, plots.

Start with `evaluate.py`; `compare.py` sets several runs side by side.
"""
