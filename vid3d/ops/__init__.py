"""CONVOLUTION AND POOLING ON CPUS, as fast as jax.numpy allows; imports nothing of vid3d.

In and out: `BTHWC` arrays. Start with `convolution.py`, which chooses among the algorithms of the other files.
"""
