"""WEIGHTS -> LABELS ON VIDEO: files, cameras and one's own loop. Nothing here imports tensorflow."""

from vid3d.data import frames  # noqa: F401  # first: it quietens OpenCV, which has to happen before OpenCV is loaded
