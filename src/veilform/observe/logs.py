"""Logs as JSON, one object a line."""

from __future__ import annotations

import logging
from datetime import datetime, timezone

import msgspec


class JsonFormatter(logging.Formatter):
    """A record's time (UTC), level, logger and message. An exception's text is not among them."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        line: dict[str, str] = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info and record.exc_info[0]:
            line["error"] = record.exc_info[0].__name__
        return msgspec.json.encode(line).decode()
