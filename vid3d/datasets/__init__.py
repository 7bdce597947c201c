"""WHICH VIDEOS THERE ARE.

In: `config.data`; out: an `Index` of videos with their labels, groups and splits.

One file per kind of source: `folder.py`, `manifest.py`, `ucf101.py`, `tfds.py`, `synthetic.py`.
Start with `index.py`.
"""
