"""A FILE -> FRAMES -> A CLIP.

In: the path of a video, or a camera; out: uint8 RGB frames with their times, and which of them make
a clip. Start with `reader.py`; docs/decoding.md defines "the frames of a file".

A decoding process loads nothing of vid3d but this folder, `errors`, `process` and `text`.
"""

import os

# Cameras that fail make OpenCV write pages of messages; what they mean is raised as a VideoError.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
