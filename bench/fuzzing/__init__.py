"""Fuzzing: what strangers can send, and what files may hold, against every parser."""
