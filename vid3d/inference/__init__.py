"""WEIGHTS -> LABELS of files, cameras and streams; no TensorFlow. Start with `classifier.py`."""

import vid3d.video  # noqa: F401  # silences OpenCV, which only works before OpenCV is imported
