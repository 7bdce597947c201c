"""From a decoded picture to the pixels that a viewer would see: RGB, upright, with square pixels.

The colours are those of FFmpeg's own command, to the pixel: matrix and range as the file tags them,
nothing tone-mapped and the two fields of an interlaced picture left woven, unless that is asked
for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import av
import numpy as np
from av.buffer import Buffer
from av.filter import Graph
from av.sidedata.sidedata import Type as SideDataType
from av.video.reformatter import ColorPrimaries, ColorTrc, Interpolation, VideoReformatter

from vid3d.video.container import IS_BEFORE_PYAV_19

if TYPE_CHECKING:
    from ml_collections import ConfigDict

# swscale converts these to RGB without interpolating colour, so that where it lies does not matter.
PLAIN_FORMATS = {"yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p", "rgb24"}
# The matrices that swscale knows; 2, untagged, is taken for BT.601. Of the others, FFmpeg's command
# takes 10 for BT.2020 and the rest for BT.601.
MATRICES = {0, 1, 2, 4, 5, 6, 7, 9}
NEAREST_MATRIX = {10: "bt2020nc"}
HDR_TRANSFERS = {ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67}  # PQ and HLG
SDR = (ColorTrc.BT709, ColorPrimaries.BT709)
BICUBIC = int(Interpolation.BICUBIC)
RGB = av.VideoFormat("rgb24")  # by its name, FFmpeg would search it among all for each picture


def unnamed(kind: type[SideDataType], value: int) -> SideDataType:
    """Stands for a type of side data that PyAV does not name, such as EXIF."""
    member = object.__new__(kind)
    member._name_ = f"UNNAMED_{value}"
    member._value_ = value  # type: ignore[assignment]  # the stubs take enum's values for members
    return member


# FFmpeg knows more types than PyAV: before version 19 it refuses all side data of a picture with
# one of them.
if IS_BEFORE_PYAV_19:
    SideDataType._missing_ = classmethod(unnamed)  # type: ignore[assignment, method-assign]


@dataclass(frozen=True)
class DecodeOptions:
    """How pictures become frames: the keys of `config.data` with these names.

    Attributes:
        pixels: "square" resamples pictures whose pixels are not square; "stored" takes them as they
            are.
        deinterlace: "off" leaves fields woven; "bwdif" interpolates pictures that are flagged as
            interlaced.
        tone_map: brings HDR (PQ, HLG) to BT.709 with swscale's tone mapping.
        frames_fps: frames per second of a folder of pictures; 0: such a folder is no video.
    """

    pixels: str = "square"
    deinterlace: str = "off"
    tone_map: bool = False
    frames_fps: float = 0.0


def decode_options(data: ConfigDict) -> DecodeOptions:
    """The options that a config asks for."""
    return DecodeOptions(data.pixels, data.deinterlace, data.tone_map, data.frames_fps)


class PictureConverter:
    """Turns the pictures of one stream into frames, with the filters that these need."""

    def __init__(self, options: DecodeOptions, pixel_shape: float):
        """Takes how pictures become frames, and width : height of their pixels."""
        self.options = options
        self.pixel_shape = pixel_shape if options.pixels == "square" else 1.0
        self._matrix: np.ndarray | None = None
        self._begun = False
        self._reformatter = VideoReformatter()
        self._graph: Graph | None = None
        self._graph_key: tuple = ()

    def frames(self, picture: av.VideoFrame | None) -> list[np.ndarray]:
        """The frames that are ready after a picture: one, unless a deinterlacer looks ahead.

        Args:
            picture: as decoded; None at the end of the stream.

        Returns:
            uint8 RGB [H, W, 3] each.

        Raises:
            av.error.FFmpegError: swscale or a filter refuses the picture.
        """
        if picture is not None and self._graph is None and not self._filters(picture):
            return [self._to_rgb(picture)]
        return [self._to_rgb(ready) for ready in self._filtered(picture)]

    def pass_over(self, picture: av.VideoFrame) -> None:
        """Takes note of a picture that is not converted: it may tell which way up others are."""
        if picture.key_frame or not self._begun:  # where it may change
            self._matrix, self._begun = display_matrix(picture), True

    def forget(self) -> None:
        """Drops what the filters hold back: another part of the stream comes next."""
        self._graph, self._graph_key = None, ()

    def _to_rgb(self, picture: av.VideoFrame) -> np.ndarray:
        self.pass_over(picture)
        width, height = picture.width, picture.height
        if self.pixel_shape != 1:
            width = max(round(width * self.pixel_shape), 1)
        to_sdr = self.options.tone_map and picture.color_trc in HDR_TRANSFERS
        transfer, primaries = SDR if to_sdr else (None, None)
        rgb = self._reformatter.reformat(
            picture,
            width=width,
            format=RGB,  # type: ignore[arg-type]  # the stubs know names only
            interpolation=BICUBIC,
            threads=1,
            dst_color_trc=transfer,
            dst_color_primaries=primaries,
        )
        plane = rgb.planes[0]
        frame_HWC: np.ndarray = np.ndarray(
            (height, width, 3), np.uint8, memoryview(plane), strides=(plane.line_size, 3, 1)
        )
        return frame_HWC if self._matrix is None else upright(frame_HWC, self._matrix)

    def _filtered(self, picture: av.VideoFrame | None) -> list[av.VideoFrame]:
        """Pictures in the form in which swscale treats them as FFmpeg's command does."""
        if picture is None:
            return self._drain()
        chain = self._filters(picture)
        if not chain:
            return [*self._drain(), picture] if self._graph else [picture]
        key = (chain, picture.width, picture.height, picture.format.name, picture.time_base)
        ready = []
        graph = self._graph
        if graph is None or key != self._graph_key:
            ready = self._drain()
            graph = build_graph(chain, picture)
            self._graph, self._graph_key = graph, key
        graph.push(picture)
        return ready + pull(graph)

    def _filters(self, picture: av.VideoFrame) -> tuple[tuple[str, str], ...]:
        """The filters that a picture needs, as (name, arguments)."""
        chain: tuple[tuple[str, str], ...] = ()
        if self.options.deinterlace == "bwdif":  # all pictures: it looks at the ones around
            chain = (("bwdif", "mode=send_frame:deint=interlaced"),)
        elif (
            picture.format.name in PLAIN_FORMATS
            and picture.colorspace in MATRICES
            and not picture.interlaced_frame
        ):
            return ()
        parameters = "field_mode=prog:chroma_location=unspecified"
        if picture.colorspace not in MATRICES:
            parameters += f":colorspace={NEAREST_MATRIX.get(picture.colorspace, 'smpte170m')}"
        return (*chain, ("setparams", parameters))

    def _drain(self) -> list[av.VideoFrame]:
        """What the filters still hold back; they are gone afterwards."""
        if self._graph is None:
            return []
        self._graph.push(None)
        ready = pull(self._graph)
        self._graph, self._graph_key = None, ()
        return ready


def build_graph(chain: tuple[tuple[str, str], ...], picture: av.VideoFrame) -> Graph:
    """A graph that sends pictures like this one through filters one after the other."""
    graph = Graph()
    last = graph.add_buffer(
        width=picture.width,
        height=picture.height,
        format=picture.format,
        time_base=picture.time_base,
    )
    for name, arguments in (*chain, ("buffersink", "")):
        following = graph.add(name, arguments)
        last.link_to(following)
        last = following
    graph.configure()
    return graph


def pull(graph: Graph) -> list[av.VideoFrame]:
    """The pictures that a graph has ready."""
    ready = []
    while True:
        try:
            ready.append(graph.vpull())
        except (av.error.BlockingIOError, av.error.EOFError):
            return ready


def display_matrix(picture: av.VideoFrame) -> np.ndarray | None:
    """The nine numbers that say how a picture is turned and mirrored for display.

    None where it has none.

    They come from the container, as of a phone's MP4, or from the stream, as H.264's display
    orientation message.
    """
    data = picture.side_data.get("DISPLAYMATRIX")
    return np.frombuffer(memoryview(data), np.int32) if isinstance(data, Buffer) else None


def upright(frame_HWC: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Turns and mirrors a frame as its display matrix says.

    An odd angle is rounded to a quarter turn.
    """
    a, b, _, c, d, *_ = matrix.tolist()  # a pixel (x, y) is shown at (a x + c y, b x + d y)
    if abs(a) + abs(d) < abs(b) + abs(c):
        frame_HWC, a, d = frame_HWC.transpose(1, 0, 2), c, b
    if a < 0:
        frame_HWC = frame_HWC[:, ::-1]
    if d < 0:
        frame_HWC = frame_HWC[::-1]
    return np.ascontiguousarray(frame_HWC)
