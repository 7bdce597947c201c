"""Labels a video without vid3d: python docs/export_stablehlo.py FILE.npz VIDEO"""

import json
import sys

import av
import cv2
import jax
import numpy as np

path, video = sys.argv[1:]
arrays = dict(np.load(path))
about = json.loads(arrays.pop("about").tobytes())
network = jax.export.deserialize(bytearray(arrays.pop("program")))
weights = [arrays[f"weight{number}"] for number in range(len(arrays))]
_, num_frames, height, width, channels = about["input"]["shape"]
clip = about["clip"]

with av.open(video) as file:
    read = [(f.time, f.to_ndarray(format="rgb24")) for f in file.decode(video=0)]
times, frames = map(list, zip(*read, strict=True))

# The clip: from the first frame on, in the middle, or spread over the video ("uniform").
count = np.arange(num_frames)
if clip["sampling"] == "uniform":
    chosen = ((count + 0.5) / num_frames * len(frames)).astype(int)
elif clip["fps"]:
    spare = max(times[-1] - times[0] - (num_frames - 1) / clip["fps"], 0)
    start = times[0] + spare / 2 * (clip["sampling"] != "first")
    chosen = [np.abs(np.array(times) - start - n / clip["fps"]).argmin() for n in count]
else:
    spare = max(len(frames) - (num_frames - 1) * clip["frame_step"] - 1, 0)
    chosen = spare // 2 * (clip["sampling"] != "first") + count * clip["frame_step"]

shown = [frames[min(n, len(frames) - 1)] for n in chosen]
fitted = [cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA) for frame in shown]
if channels == 1:  # gray
    fitted = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)[:, :, None] for frame in fitted]
probabilities = np.asarray(network.call(weights, np.stack(fitted)[None]))[0]
print(about["classes"][probabilities.argmax()], f"{probabilities.max():.3f}")
