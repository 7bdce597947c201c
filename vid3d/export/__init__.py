"""CHECKPOINT -> FILES FOR OTHER RUNTIMES, and what these answer. Start with `onnx_writer.py`."""
