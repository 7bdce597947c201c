"""CONVOLUTION AND POOLING ON CPUS, as fast as jax.numpy allows; independent of vid3d.

In and out: `BTHWC` arrays. Start with `convolution.py`, which chooses one of the algorithms in the
other modules.
"""
