"""ONE CONFIG -> MANY RUNS: a config with values to try becomes a workdir per run, and a table.

Start with `launch.py`.
"""
