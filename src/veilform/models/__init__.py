"""Reading checkpoints and texts: ``checkpoint.py``, ``text.py``, and one folder a model family."""
