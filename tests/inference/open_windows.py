"""`python open_windows.py COUNT`: opens windows on a busy core, prints the maximum of each."""

import os
import subprocess
import sys
import tempfile
import time

import cv2
import numpy as np

from vid3d.inference import overlay

if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
overlay.check_display()
seen = []
with tempfile.TemporaryDirectory() as folder:
    # Another process on the same core delays the threads of a window.
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        for _ in range(int(sys.argv[1])):
            with overlay.DisplayWindow(paced=False) as window:
                end = time.monotonic() + 0.3
                while time.monotonic() < end:
                    window.show(np.full((240, 320, 3), 200, np.uint8), 0.0)
                command = ["import", "-window", "root", "-crop", "320x240+0+0", f"{folder}/a.png"]
                subprocess.run(command, check=True)
            seen.append(int(cv2.imread(f"{folder}/a.png").max()))
    finally:
        busy.kill()
print(seen)
