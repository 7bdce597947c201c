"""LISTS OF OTHERS -> A MANIFEST: annotation programs, public data sets and other frameworks.

In: files of one format; out: a manifest.csv, which is all that the rest of vid3d knows. A module
per format; start with `convert.py`.
"""
