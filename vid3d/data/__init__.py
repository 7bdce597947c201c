"""FRAMES ON DISK -> BATCHES.

In: an index of videos; out: uint8 clips with labels, as a tf.data pipeline.

`prepare.py` decodes every video once into shards of a tfds data set, `pipeline.py` makes batches of
them. Start with `prepare.py`.
"""
