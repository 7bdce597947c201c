"""From nothing to a judged time line: long recordings of the embedded motions, for some seeds.

    python experiments/untrimmed.py runs/untrimmed [--seeds=0,1,2] [--presets=NAME,NAME]

For each seed, `demo:untrimmed` and its twin that sees single frames alone are trained, their
decoders chosen on the validation recordings, and the test recordings judged once. No recording has
parts on two sides. Seconds are those of all commands together, on the clock and of processor time,
with the recordings drawn anew for the first preset of a seed.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path

from long_videos import vid3d
from time_lines import MEASURES, shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("output", help="for the workdirs and the recordings")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--presets", default="untrimmed,untrimmed-baseline")
    parser.add_argument("--set", action="append", default=[], help="KEY=VALUE of the config")
    options = parser.parse_args()
    output = Path(options.output)
    settings = [f"--config.data.cache_dir={(output / 'cache').absolute()}"]
    settings += [f"--config.{setting}" for setting in options.set]
    for seed in options.seeds.split(","):
        for preset in options.presets.split(","):
            run(output / f"{preset}-seed{seed}", preset, [*settings, f"--config.seed={seed}"])


def run(workdir: Path, preset: str, settings: list[str]) -> None:
    """Trains, chooses, judges, and prints a line a measure."""
    begun, used = time.perf_counter(), processor_seconds()
    vid3d("train", f"--config=demo:{preset}", f"--workdir={workdir}", *settings)
    evaluate = ("evaluate", f"--workdir={workdir}", "--json")
    chosen_on = json.loads(vid3d(*evaluate, "--events=val", "--choose"))
    figures = json.loads(vid3d(*evaluate, "--events=test"))
    seconds, cpu = time.perf_counter() - begun, processor_seconds() - used
    print(f"{workdir.name}: {figures['num_recordings']} test recordings, "
          f"{60 * figures['hours']:.1f} minutes, {chosen_on['num_recordings']} for the choice; "
          f"{seconds:.0f} s, {cpu:.0f} s of processor time")  # fmt: skip
    for name in MEASURES:
        print(f"  {name:14} {shown(figures, name)}", flush=True)


def processor_seconds() -> float:
    """Of the commands that have ended."""
    use = resource.getrusage(resource.RUSAGE_CHILDREN)
    return use.ru_utime + use.ru_stime


if __name__ == "__main__":
    main()
