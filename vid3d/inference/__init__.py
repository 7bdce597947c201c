"""WEIGHTS -> LABELS ON VIDEO: files, cameras and one's own loop, without TensorFlow. Start with `classifier.py`."""

import vid3d.video  # noqa: F401  # it quietens OpenCV, which has to happen before OpenCV is loaded
