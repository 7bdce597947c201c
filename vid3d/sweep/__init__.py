"""ONE CONFIG -> MANY RUNS. In: a config with values to try; out: a workdir per run, and a table. Start with `launch.py`."""
