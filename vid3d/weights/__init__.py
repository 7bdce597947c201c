"""PUBLISHED WEIGHTS -> OUR VARIABLES. In: files of PyTorch or safetensors; out: params and batch_stats of a network.

Start with `published.py`; `zoo.py` lists the weights that are known by name.
"""
