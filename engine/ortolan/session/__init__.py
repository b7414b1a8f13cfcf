"""Graphs loaded on an execution provider. Nothing outside this package imports onnxruntime."""
