"""`vid3d explain`: videos with a heat map of where the network looks, and a curve of when."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vid3d import storage
from vid3d.config import validate
from vid3d.errors import UserError
from vid3d.inference import files, overlay
from vid3d.inference.classifier import Classifier
from vid3d.inference.explain import Explainer, Explanation
from vid3d.inference.found import collect, name_copies
from vid3d.inference.stretch import Stretches, check_single, stretch
from vid3d.video import resize
from vid3d.video.picture import decode_options
from vid3d.video.records import Settings
from vid3d.video.writer import VideoWriter

BLUR = 0.03  # of a frame's height, for the single pixels of integrated gradients
BRIGHTEST = 0.999  # quantile of the map that is drawn in full colour
OPACITY = 0.6  # of the hottest place
CURVE_HEIGHT = 0.16  # of the frame


@dataclass(frozen=True)
class Explained:
    """What became of one video: its explanation, or why there is none or no annotated copy."""

    path: str
    explanation: Explanation | None
    error: str = ""


def explain(
    workdir: str | Path,
    paths: Sequence[str | Path],
    *,
    checkpoint: str = "best",
    label: str = "",
    method: str = "gradcam",
    output: str | Path = "",
    span: tuple[float, float] | None = None,
) -> Iterator[Explained]:
    """Explains videos, and writes annotated copies of them if asked to.

    Args:
        workdir: the folder of a training run.
        paths: video files, and folders that are searched for videos at any depth.
        checkpoint: "best", "latest", or the number of a step.
        label: the class to explain; by default the answer for each video.
        method: one of `attribution.METHODS`.
        output: a folder for annotated copies.
        span: start and end of the stretch of the only video, in seconds; None is all of it.

    Yields:
        One after the other, as they are done.

    Raises:
        UserError: the workdir does not exist, there are only folders without videos, there is no
            such class or method, or the output cannot be written.
    """
    folder = storage.require_local(output, "--output") if output else None
    classifier = Classifier.load(workdir, checkpoint)
    validate(classifier.config)
    found = collect(paths, classifier.config.data.frames_fps)
    copies = name_copies(found.videos, folder) if folder else {}
    explainer = Explainer(classifier, method)
    explainer.check_label(label)
    if span:
        check_single(found.videos)
    return explain_each(explainer, found.videos, found.empty, copies, label, span)


def explain_each(
    explainer: Explainer,
    videos: dict[str, str],
    empty: dict[str, str],
    copies: dict[str, Path],
    label: str,
    span: tuple[float, float] | None = None,
) -> Iterator[Explained]:
    """The rest of `explain`, after its checks."""
    for path, why in empty.items():
        yield Explained(path, None, why)
    for path in videos:
        try:
            source = stretch(path, *span) if span else path
            found = explainer.explain(source, label=label)
        except UserError as error:
            yield Explained(path, None, str(error))
            continue
        try:
            if copies:
                draw_copy(source, found, copies[path], explainer.classifier.config.data)
            yield Explained(path, found)
        except UserError as error:
            yield Explained(path, found, f"no annotated copy of {path}: {error}")


def as_dict(found: Explained) -> dict[str, Any]:
    """A video's JSON: what is explained, and for each frame that counts its time, share, centre."""
    if found.explanation is None:
        return {"path": found.path, "error": found.error}
    explanation = found.explanation
    centres = [[None, None] if np.isnan(xy[0]) else xy.tolist() for xy in explanation.centres()]
    return {
        "path": found.path,
        "label": explanation.label,
        "probability": explanation.probability,
        "method": explanation.method,
        "times": explanation.times_T.tolist(),
        "shares": explanation.curve().tolist(),
        "centres": centres,
        "error": found.error,
    }


def draw_copy(video: str | Stretches, found: Explanation, copy: Path, data: Any) -> None:
    """Writes a copy of a video with the heat map on each frame, the label, and the curve.

    Args:
        video: its path, or a stretch of it.
        found: its explanation.
        copy: the file to write.
        data: `config.data`; the geometry, decoding options and `decode_timeout` are read.

    Raises:
        UserError: the copy cannot be written, or the video cannot be decoded again.
    """
    size, seconds = found.size, found.prediction.seconds
    whole = Settings(size, "squash", "rgb", max_frames=0, store="raw", decode=decode_options(data))
    try:
        copy.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {copy.parent}: {error.strerror}") from None
    heat_THW, curve_T, start = heat(found), found.curve(), found.start
    with VideoWriter(copy, fps=found.prediction.num_frames / seconds) as writer:
        for frame_HWC, time in files.stream(video, whole, timeout=data.decode_timeout):
            heat_HW = on_frame(at_time(heat_THW, found.times_T, time), size, data.resize)
            heated_HWC = blend(frame_HWC, heat_HW)
            at_T = found.times_T - start
            draw_curve(heated_HWC, curve_T, at_T, now=time - start, end=seconds)
            note = found.method.replace("_", " ")
            drawn = overlay.draw(heated_HWC, found.label, probability=found.probability, note=note)
            writer.write(drawn, time - start)


def heat(found: Explanation) -> np.ndarray:
    """What speaks for the class, from 0 to 1: float32 [T, H, W]."""
    heat_THW = np.maximum(found.map_THW, 0)
    if found.method == "integrated_gradients":
        sigma = BLUR * heat_THW.shape[1]
        heat_THW = np.stack([cv2.GaussianBlur(heat_HW, (0, 0), sigma) for heat_HW in heat_THW])
    brightest = np.quantile(heat_THW, BRIGHTEST)
    return np.minimum(heat_THW / brightest, 1) if brightest > 0 else heat_THW


def on_frame(heat_HW: np.ndarray, size: tuple[int, int], how: str) -> np.ndarray:
    """Brings a map of a stored frame to the frame that it was made from, with 0 where it was cut.

    Args:
        heat_HW: float32.
        size: height and width of the frame.
        how: `data.resize`.
    """
    height, width = size
    region_HW1 = np.zeros((height, width, 1), np.float32)
    if how.startswith("short_side"):
        seen_HW1 = resize.cut_to_shape(region_HW1, *heat_HW.shape)  # a view
    else:
        seen_HW1 = region_HW1
    rows, columns = seen_HW1.shape[:2]
    seen_HW1[..., 0] = cv2.resize(heat_HW, (columns, rows), interpolation=cv2.INTER_LINEAR)
    return region_HW1[..., 0]


def at_time(maps_THW: np.ndarray, times_T: np.ndarray, seconds: float) -> np.ndarray:
    """The map at a time, between two frames interpolated: float32 [H, W]."""
    after = int(np.searchsorted(times_T, seconds))
    if after == 0 or after == len(times_T):
        return maps_THW[min(after, len(times_T) - 1)]
    share = (seconds - times_T[after - 1]) / (times_T[after] - times_T[after - 1])
    return np.float32(1 - share) * maps_THW[after - 1] + np.float32(share) * maps_THW[after]


def blend(frame_HWC: np.ndarray, heat_HW: np.ndarray) -> np.ndarray:
    """The frame in grey with the heat over it in colour: uint8 RGB, like the frame.

    Args:
        frame_HWC: uint8 RGB.
        heat_HW: float32 from 0 to 1.
    """
    grey_HW = cv2.cvtColor(frame_HWC, cv2.COLOR_RGB2GRAY)
    color_HWC = cv2.applyColorMap((255 * heat_HW).astype(np.uint8), cv2.COLORMAP_INFERNO)
    opacity_HW1 = (OPACITY * heat_HW)[:, :, None]
    mixed_HWC = (1 - opacity_HW1) * grey_HW[:, :, None] + opacity_HW1 * color_HWC[:, :, ::-1]
    return mixed_HWC.round().astype(np.uint8)


def draw_curve(
    canvas_HWC: np.ndarray, curve_T: np.ndarray, times_T: np.ndarray, *, now: float, end: float
) -> None:
    """Draws into the top of a frame how much each moment counts, and a line at the current one.

    Args:
        canvas_HWC: uint8 RGB, changed in place.
        curve_T: 0 or more, one number per frame that counts.
        times_T: seconds of these frames.
        now: seconds of this frame.
        end: seconds of the video.
    """
    height, width = canvas_HWC.shape[:2]
    band = max(round(CURVE_HEIGHT * height), 4)
    canvas_HWC[:band] //= 3
    x_T = np.round(np.clip(times_T / max(end, 1e-9), 0, 1) * (width - 1))
    y_T = np.round((band - 1) * (1 - 0.9 * curve_T / max(curve_T.max(), 1e-12)))
    points = np.stack([x_T, y_T], axis=1).astype(np.int32)
    cv2.polylines(canvas_HWC, [points], False, overlay.WHITE, 1, cv2.LINE_AA)
    x = round(min(now / max(end, 1e-9), 1) * (width - 1))
    cv2.line(canvas_HWC, (x, 0), (x, band - 1), overlay.UNSURE, 1)
