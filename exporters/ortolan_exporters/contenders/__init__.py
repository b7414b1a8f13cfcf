"""Contenders: other ways to run a checkpoint, each a program in an environment of its own that answers over pipes.

A program, such as `optimum_onnx.py`, imports numpy, its tool, and its siblings `serving` and `onnx_profile`. Beside it
lies a list of what it needs, such as `optimum_onnx.txt`; without one it runs in the environment of Ortolan itself.
`process.py` and `environments.py` are this side of the pipes.
"""
