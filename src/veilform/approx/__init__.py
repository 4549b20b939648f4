"""The functions that a student may use, and which of them run privately.

One registry entry a function (``registry.py``); one small file for each plain definition.
"""
