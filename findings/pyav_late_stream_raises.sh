#!/usr/bin/env bash
# av (PyAV) 18.1.0: container.demux(stream) and container.decode(stream), on a transport stream in which other streams begin half way.
# Such a file is what `cat` makes of two recordings with other stream numbers, and what a broadcaster sends who changes them. All frames of the
# chosen stream come, then IndexError: list index out of range is raised where the iteration should end: the streams that FFmpeg found
# meanwhile are not in container.streams. FFmpeg's command reads the same file to its end and exits with 0.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v ffmpeg >/dev/null || { apt-get update -qq && apt-get install -y -qq ffmpeg; } >/dev/null
clip=(-f lavfi -i "testsrc=s=96x64:r=25:d=1" -c:v mpeg2video)
ffmpeg -v error "${clip[@]}" first.ts
ffmpeg -v error "${clip[@]}" -mpegts_pmt_start_pid 0x1111 -mpegts_start_pid 0x222 second.ts
cat first.ts second.ts > both.ts
command=$(ffmpeg -v error -i both.ts -map 0:v:0 -fps_mode passthrough -f framemd5 - | grep -vc '^#')
cat > look.py <<"END"
import sys

import av

count, raised = 0, "nothing"
with av.open("both.ts") as container:
    try:
        for frame in container.decode(container.streams.video[0]):
            count += 1
    except IndexError as error:
        raised = f"IndexError: {error}"
print(f"FFmpeg's command: {sys.argv[1]} frames; PyAV: {count} frames, then raises {raised}")
raise SystemExit(bool((count, raised) != (25, "IndexError: list index out of range") or sys.argv[1] != "25"))
END
python3 -m venv venv
venv/bin/pip install -q av==18.1.0
venv/bin/python look.py "$command"
