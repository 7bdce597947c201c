"""The files of decoders.py: codec x container x property, as arguments of FFmpeg's command."""

from __future__ import annotations

from decoder_zoo import (
    COUNT,
    EXACT,
    MATRICES,
    Sample,
    attach,
    behead,
    copy,
    cut,
    damage,
    display_matrix,
    trim,
)

X264 = "-c:v libx264 -preset veryfast -crf 12"
X265 = "-c:v libx265 -preset ultrafast -crf 10 -x265-params log-level=none:pools=1"
VP9 = "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -b:v 0 -crf 10"
H420 = f"{X264} -pix_fmt yuv420p"
SOUND = "-f lavfi -i sine=d=2"


def plain() -> list[Sample]:
    """Codecs and containers, nothing special."""
    makers = {
        "h264.mp4": H420,
        "h264.mov": H420,
        "h264.mkv": H420,
        "h264.avi": f"{H420} -bf 0",
        "h264.flv": H420,
        "h264.ts": H420,
        "h264.mts": f"{H420} -mpegts_m2ts_mode 1 -f mpegts",
        "h264.3gp": f"{H420} -profile:v baseline",
        "hevc.mp4": f"{X265} -pix_fmt yuv420p -tag:v hvc1",
        "hevc.mkv": f"{X265} -pix_fmt yuv420p",
        "vp8.webm": "-c:v libvpx -deadline realtime -cpu-used 16 -b:v 2M -crf 4",
        "vp9.webm": f"{VP9} -pix_fmt yuv420p",
        "vp9.mp4": f"{VP9} -pix_fmt yuv420p",
        "av1.mp4": "-c:v libsvtav1 -preset 12 -crf 15 -pix_fmt yuv420p",
        "av1.webm": "-c:v libaom-av1 -usage realtime -cpu-used 8 -crf 10 -b:v 0 -pix_fmt yuv420p",
        "mpeg4.mp4": "-c:v mpeg4 -q:v 2",
        "xvid.avi": "-c:v libxvid -q:v 2",
        "divx3.avi": "-c:v msmpeg4 -q:v 2",
        "h263.3gp": "-c:v h263 -q:v 2",
        "mpeg2.mpg": "-c:v mpeg2video -q:v 2 -bf 2",
        "mpeg2.vob": "-c:v mpeg2video -q:v 2 -bf 2 -f vob",
        "mpeg2.ts": "-c:v mpeg2video -q:v 2 -bf 2",
        "mpeg1.mpg": "-c:v mpeg1video -q:v 2 -bf 2",
        "mjpeg.avi": "-c:v mjpeg -q:v 2 -pix_fmt yuvj420p",
        "mjpeg.mov": "-c:v mjpeg -q:v 2 -pix_fmt yuvj422p",
        "prores.mov": "-c:v prores_ks -profile:v 3",
        "ffv1.mkv": "-c:v ffv1 -pix_fmt yuv420p",
        "ffv1-rgb.avi": "-c:v ffv1 -pix_fmt bgr0",
        "huffyuv.avi": "-c:v huffyuv -pix_fmt yuv422p",
        "wmv2.wmv": "-c:v wmv2 -q:v 2",
        "theora.ogv": "-c:v libtheora -q:v 10",
        "flv1.flv": "-c:v flv -q:v 2",
        "cinepak.avi": "-c:v cinepak -q:v 1",
        "svq1.mov": "-c:v svq1 -q:v 1",
        "rgb.avi": "-c:v rawvideo -pix_fmt bgr24",
        "yuyv.avi": "-c:v rawvideo -pix_fmt yuyv422",
        "qtrle.mov": "-c:v qtrle",
        "raw.h264": f"{H420} -f h264",
        "raw.hevc": f"{X265} -pix_fmt yuv420p -f hevc",
        "raw.m2v": "-c:v mpeg2video -q:v 2 -bf 2 -f mpeg2video",
    }
    slow = {"cinepak.avi": 10, "svq1.mov": 25}
    return [
        Sample(
            name,
            "pixels 12:11" if "h263 " in arguments else "progressive",
            arguments,
            count=slow.get(name, COUNT),
        )
        for name, arguments in makers.items()
    ]


def palettes() -> list[Sample]:
    """Few colours."""
    gif = "-filter_complex split[a][b];[a]palettegen[p];[b][p]paletteuse"
    return [
        Sample("palette.gif", "palette", f"{gif} -c:v gif", count=20),
        Sample("palette.mov", "palette", f"{gif} -c:v qtrle -pix_fmt pal8", count=10),
        Sample("palette.mkv", "palette", f"{gif} -c:v png -pix_fmt pal8", count=10),
    ]


def interlaced() -> list[Sample]:
    """Two moments a frame."""
    coded = "-flags +ildct+ilme"
    samples = []
    for order, top in (("tff", 1), ("bff", 0)):
        field = f"{coded} -top {top}"
        for name, arguments in {
            "h264-mbaff.mp4": f"{H420} {coded} -x264-params {order}=1",
            "h264-mbaff.mts": f"{H420} {coded} -x264-params {order}=1 "
            "-mpegts_m2ts_mode 1 -f mpegts",
            "mpeg2.mpg": f"-c:v mpeg2video -q:v 2 -bf 2 {field}",
            "mpeg2-422.ts": f"-c:v mpeg2video -q:v 2 -pix_fmt yuv422p {field}",
            "mpeg4.avi": f"-c:v mpeg4 -q:v 2 {field}",
            "prores.mov": f"-c:v prores_ks {field}",
            "ffv1.mkv": f"-c:v ffv1 -pix_fmt yuv420p -field_order {'tt' if top else 'bb'}",
        }.items():
            samples.append(
                Sample(f"{order}-{name}", f"interlaced, {order}", arguments, interlaced=order)
            )
    for name in ("dv.avi", "dv.mov", "dv.dv"):
        samples.append(
            Sample(
                name,
                "interlaced, bff",
                "-c:v dvvideo -pix_fmt yuv420p",
                (720, 576),
                6,
                interlaced="bff",
            )
        )
    samples.append(
        Sample(
            "flagged.mp4",
            "progressive, flagged interlaced",
            f"{H420} -x264-params fake-interlaced=1",
        )
    )
    return samples


def orientations() -> list[Sample]:
    """Pictures that are stored turned or mirrored."""
    samples = [
        Sample(f"matrix-{n}.mp4", what, H420, after=display_matrix(matrix))
        for n, (what, matrix) in enumerate(MATRICES.items())
    ]
    # FFmpeg 5.1 obeys such a message in the frames that carry it, though it holds until the next.
    sei = {
        "rotated 90": ("rotate=90", "transpose=cclock"),
        "rotated 180": ("rotate=180", "hflip,vflip"),
        "mirrored": ("flip=horizontal", "hflip"),
    }
    for n, (what, (option, upright)) in enumerate(sei.items()):
        bits = f"-bsf:v h264_metadata=display_orientation=insert:{option}"
        what = f"{what} by an H.264 message"
        samples.append(Sample(f"sei-{n}.mp4", what, f"{H420} {bits}", truth=upright))
    samples.append(
        Sample(
            "matrix.mov",
            "rotated 90",
            "-c:v mjpeg -q:v 2",
            after=display_matrix(MATRICES["rotated 90"]),
        )
    )
    return samples


def times() -> list[Sample]:
    """Time stamps, edit lists, orders of frames."""
    vfr = "-vf setpts=(N+N*N/40)/25/TB -fps_mode passthrough"
    gop = "-g 20 -keyint_min 20 -sc_threshold 0 -bf 3"
    late = tuple(range(18, COUNT))
    return [
        Sample("vfr.mp4", "variable frame rate", f"{vfr} -video_track_timescale 12800 {H420}"),
        Sample("vfr.mkv", "variable frame rate", f"{vfr} {H420}"),
        Sample("vfr.webm", "variable frame rate", f"{vfr} {VP9} -pix_fmt yuv420p"),
        Sample(
            "trim.mp4",
            "edit list: begins inside a GOP",
            f"{H420} {gop}",
            numbers=late,
            after=trim(0.72),
        ),
        Sample(
            "trim.mov",
            "edit list: begins inside a GOP",
            f"{H420} {gop}",
            numbers=late,
            after=trim(0.72),
        ),
        Sample(
            "trim-hevc.mp4",
            "edit list: leading frames hidden",
            f"{X265} {gop}",
            numbers=tuple(range(20, COUNT)),
            after=trim(0.72),
        ),
        Sample(
            "delay.mp4",
            "edit list: begins late",
            H420,
            after=copy(f"{SOUND} -itsoffset 1.5 -i IN -map 1:v -map 0:a -c:v copy"),
        ),
        Sample("offset.ts", "first time stamp 3600 s", f"{H420} -output_ts_offset 3600"),
        Sample("offset.mkv", "first time stamp 5 s", f"{H420} -output_ts_offset 5"),
        Sample("open.ts", "open GOPs", f"{H420} {gop} -x264-params open-gop=1"),
        Sample("open.mpg", "open GOPs", "-c:v mpeg2video -q:v 2 -bf 2 -g 12"),
        Sample(
            "cut-start.ts",
            "begins inside a GOP",
            f"{H420} {gop} -x264-params open-gop=1",
            numbers=None,
            after=behead,
        ),
        Sample(
            "cut-start.mpg",
            "begins inside a GOP",
            "-c:v mpeg2video -q:v 2 -bf 2 -g 12",
            numbers=None,
            after=behead,
        ),
        Sample("bframes.avi", "B-frames in AVI", f"{H420} -bf 3"),
        Sample("bframes-mpeg4.avi", "B-frames in AVI", "-c:v mpeg4 -q:v 2 -bf 2"),
        Sample("fragments.mp4", "fragmented", f"{H420} -movflags +frag_keyframe+empty_moov -g 10"),
        Sample(
            "sound-first.mp4",
            "sound before the picture",
            H420,
            after=copy(f"-i IN {SOUND} -map 1:a -map 0:v -c:v copy"),
        ),
        Sample(
            "slow.mp4",
            "one frame in 10 s",
            f"-vf setpts=N*10/TB -fps_mode passthrough {H420}",
            count=6,
        ),
    ]


def formats() -> list[Sample]:
    """Pixel formats, matrices, ranges, sizes, shapes."""
    samples = []
    for name, codec, fmt in (
        ("h264-10.mp4", X264, "yuv420p10le"),
        ("hevc-10.mp4", X265, "yuv420p10le"),
        ("hevc-12.mp4", X265, "yuv422p12le"),
        ("vp9-10.webm", VP9, "yuv420p10le"),
        ("av1-10.mp4", "-c:v libsvtav1 -preset 12 -crf 15", "yuv420p10le"),
        ("h264-422.mp4", X264, "yuv422p"),
        ("h264-444.mp4", X264, "yuv444p"),
        ("vp9-444.webm", VP9, "yuv444p"),
        ("h264-rgb.mp4", "-c:v libx264rgb -preset veryfast -crf 8", "rgb24"),
        ("vp9-rgb.webm", VP9, "gbrp"),
        ("h264-gray.mp4", X264, "gray"),
        ("hevc-gray.mp4", X265, "gray"),
        ("ffv1-gray16.mkv", "-c:v ffv1", "gray16le"),
        ("ffv1-411.mkv", "-c:v ffv1", "yuv411p"),
        ("huffman-rgb48.mkv", "-c:v ffv1 -level 3", "gbrp16le"),
        ("h264-full.mp4", X264, "yuvj420p"),
        ("hevc-full.mp4", X265, "yuvj420p"),
    ):  # fmt: skip
        samples.append(Sample(name, fmt.removesuffix("le"), f"{codec} -pix_fmt {fmt}"))
    for matrix, primaries, transfer in (
        ("bt709", "bt709", "bt709"),
        ("smpte170m", "smpte170m", "smpte170m"),
        ("bt470bg", "bt470bg", "gamma28"),
        ("fcc", "bt470m", "gamma22"),
        ("smpte240m", "smpte240m", "smpte240m"),
        ("bt2020nc", "bt2020", "bt2020-10"),
        ("bt709", "bt709", "iec61966-2-1"),
    ):
        scale = (
            f"-vf scale=out_color_matrix={matrix.removesuffix('nc')}:flags={EXACT},format=yuv420p"
        )
        tags = f"-colorspace {matrix} -color_primaries {primaries} -color_trc {transfer}"
        samples.append(
            Sample(
                f"{matrix}-{transfer}.mp4",
                f"matrix {matrix}, transfer {transfer}",
                f"{scale} {X264} {tags}",
            )
        )
    tags = "-colorspace bt2020nc -color_primaries bt2020 -color_trc"
    scale = f"-vf scale=out_color_matrix=bt2020:flags={EXACT},format=yuv420p10le"
    for transfer, word in (("smpte2084", "PQ"), ("arib-std-b67", "HLG")):
        samples.append(
            Sample(f"hdr-{word}.mp4", f"HDR, {word}", f"{scale} {X265} {tags} {transfer}")
        )
    samples += [
        Sample(
            "bt709-full.mp4",
            "matrix bt709, full range",
            f"-vf scale=out_color_matrix=bt709:out_range=full:flags={EXACT},format=yuvj420p "
            f"{X264} -colorspace bt709",
        ),
        Sample(
            "ycgco.mp4",
            "matrix ycgco",
            f"-vf format=gbrp,zscale=matrix=ycgco:range=limited,format=yuv420p {X264} "
            "-colorspace ycgco",
            truth="zscale=matrix=gbr:range=full,format=gbrp",
        ),
        Sample(
            "bt709.webm",
            "matrix bt709 by the container",
            f"-vf scale=out_color_matrix=bt709:flags={EXACT},format=yuv420p -c:v libvpx "
            "-deadline realtime -cpu-used 16 -b:v 2M -crf 4 -colorspace bt709",
        ),
        Sample(
            "bt709.mpg",
            "matrix bt709",
            f"-vf scale=out_color_matrix=bt709:flags={EXACT},format=yuv420p -c:v mpeg2video "
            "-q:v 2 -colorspace bt709",
        ),
        Sample("hd.mp4", "HD without tags", H420, (1280, 720), 8),
        Sample(
            "hd-709.mp4",
            "HD, matrix bt709",
            f"-vf scale=out_color_matrix=bt709:flags={EXACT},format=yuv420p {X264} "
            "-colorspace bt709",
            (1280, 720),
            8,
        ),
        Sample("sar-64-45.mp4", "pixels 64:45", f"{H420} -aspect 1.7383"),
        Sample("sar-16-15.mpg", "pixels 12:11", "-c:v mpeg2video -q:v 2 -aspect 4:3"),
        Sample("sar-1-2.mkv", "pixels 1:2", f"-vf setsar=1/2 {H420}"),
        Sample(
            "sar-10-11.webm",
            "pixels 10:11 by the container",
            f"-vf setsar=10/11 {VP9} -pix_fmt yuv420p",
        ),
    ]
    odd = {
        "odd.mp4": f"{X264} -pix_fmt yuv444p",
        "odd.webm": f"{VP9} -pix_fmt yuv420p",
        "odd-vp8.webm": "-c:v libvpx -deadline realtime -cpu-used 16 -b:v 2M -crf 4",
        "odd.avi": "-c:v mpeg4 -q:v 2",
        "odd-mjpeg.avi": "-c:v mjpeg -q:v 2 -pix_fmt yuvj420p",
        "odd.mkv": "-c:v ffv1 -pix_fmt yuv420p",
        "odd-av1.webm": "-c:v libaom-av1 -usage realtime -cpu-used 8 -crf 10 -b:v 0 "
        "-pix_fmt yuv420p",
    }
    samples += [Sample(name, "177x143", arguments, (177, 143)) for name, arguments in odd.items()]
    samples += [
        Sample("narrow.mp4", "66x144", H420, (66, 144)),
        Sample("tall.mkv", "94x330", H420, (94, 330), 20),
        Sample(
            "crop.mp4",
            "cropped by the codec to 170x138",
            f"{H420} -bsf:v h264_metadata=crop_left=4:crop_right=2:crop_top=4:crop_bottom=2",
        ),
    ]
    half = "-vf format=rgba,geq=r='r(X,Y)':g='g(X,Y)':b='b(X,Y)':a='128+127*gt(X,W/2)'"
    samples += [
        Sample(
            "alpha.webm",
            "alpha",
            f"{half},format=yuva420p -c:v libvpx-vp9 -b:v 0 -crf 10 -deadline realtime "
            "-cpu-used 8 -auto-alt-ref 0",
            count=10,
        ),
        Sample(
            "alpha-prores.mov",
            "alpha",
            f"{half},format=yuva444p10le -c:v prores_ks -profile:v 4444",
            count=10,
        ),
        Sample("alpha-png.mov", "alpha", f"{half} -c:v png", count=10),
        Sample(
            "alpha.gif",
            "transparent parts",
            "-c:v gif -gifflags +transdiff -vf split[a][b];[a]palettegen[p];[b][p]paletteuse",
            count=10,
        ),
    ]
    return samples


def streams() -> list[Sample]:
    """More or less than one picture stream."""
    cover = "-f lavfi -i color=red:s=64x64:d=0.04 "
    second = copy(
        "-i IN -filter_complex [0:v]reverse[n] -map [n] -map 0:v -c:v libx264 -crf 10 "
        "-disposition:v:0 0 -disposition:v:1 default"
    )
    return [
        Sample("second.mkv", "two videos, the second is the default", H420, after=second),
        Sample("second.mp4", "two videos, the second is the default", H420, after=second),
        Sample(
            "cover.mp4",
            "a cover picture beside the video",
            H420,
            after=copy(
                f"{cover} -i IN -map 0 -map 1 -c:v:0 mjpeg -c:v:1 copy "
                "-disposition:v:0 attached_pic -strict -1"
            ),
        ),
        Sample("cover.mkv", "a cover picture beside the video", H420, after=attach),
        Sample(
            "cover.m4a",
            "sound with a cover picture",
            H420,
            numbers=(),
            after=copy(
                f"{cover} {SOUND} -map 0 -map 1 -c:v mjpeg -disposition:v:0 attached_pic "
                "-strict -1 -f mp4"
            ),
        ),
        Sample(
            "cover.mp3",
            "sound with a cover picture",
            H420 + " -f mp4",
            numbers=(),
            after=copy(
                f"{cover} {SOUND} -map 0 -map 1 -c:v mjpeg -disposition:v:0 attached_pic -strict -1"
            ),
        ),
        Sample("one.mp4", "one frame", H420, count=1),
        Sample("one.avi", "one frame", "-c:v mjpeg -q:v 2 -pix_fmt yuvj420p", count=1),
        Sample(
            "one.gif",
            "one frame",
            "-c:v gif -vf split[a][b];[a]palettegen[p];[b][p]paletteuse",
            count=1,
        ),
        Sample("none.mp4", "no frame", f"{H420} -frames:v 0", numbers=()),
        Sample("none.mkv", "no frame", f"{H420} -frames:v 0", numbers=()),
        Sample("damaged.mp4", "one damaged packet", f"{H420} -g 10", numbers=None, after=damage(8)),
        Sample("noise.mp4", "one packet is noise", f"{H420} -g 10", numbers=None, after=damage(0)),
        Sample(
            "damaged.avi",
            "one damaged packet",
            "-c:v mpeg4 -q:v 2 -g 10",
            numbers=None,
            after=damage(8),
        ),
        Sample(
            "damaged.webm",
            "one damaged packet",
            f"{VP9} -g 10 -pix_fmt yuv420p",
            numbers=None,
            after=damage(8),
        ),
        Sample(
            "damaged.ts",
            "one damaged packet",
            "-c:v mpeg2video -q:v 2 -g 10",
            numbers=None,
            after=damage(8),
        ),
        Sample("half.mp4", "cut at half, index at the end", H420, numbers=(), after=cut),
        Sample(
            "half-index.mp4",
            "cut at half, index at the start",
            f"{H420} -movflags +faststart -bf 0",
            numbers=None,
            after=cut,
        ),
        Sample("half.mkv", "cut at half", H420, numbers=None, after=cut),
        Sample("half.avi", "cut at half", "-c:v mpeg4 -q:v 2", numbers=None, after=cut),
        Sample("half.ts", "cut at half", H420, numbers=None, after=cut),
    ]


SAMPLES = [
    *plain(),
    *palettes(),
    *interlaced(),
    *orientations(),
    *times(),
    *formats(),
    *streams(),
]
