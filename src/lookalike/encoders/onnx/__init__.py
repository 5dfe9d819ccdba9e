"""ONNX models: read, checked, run and written."""
