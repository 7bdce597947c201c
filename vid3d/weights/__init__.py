"""PUBLISHED WEIGHTS -> FLAX VARIABLES.

In: PyTorch or safetensors files; out: params and batch_stats of a network. Start with
`published.py`; `zoo.py` lists the weights that are known by name.
"""
