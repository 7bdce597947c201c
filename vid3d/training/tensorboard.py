"""TensorBoard's writer: that of tensorboardX, without PyTorch, which it would load where it is installed.

That takes more than a second, and PyTorch's tensors never come here.
"""

import sys

__all__ = ["SummaryWriter"]

hidden = "torch" not in sys.modules
if hidden:
    sys.modules["torch"] = None  # an import of it fails, as where it is not installed
try:
    from tensorboardX import SummaryWriter
finally:
    if hidden:
        del sys.modules["torch"]
