"""``with`` for whatever has a ``close``."""

from __future__ import annotations

import abc
from types import TracebackType
from typing import TypeVar

ClosingT = TypeVar("ClosingT", bound="Closing")


class Closing(abc.ABC):
    """Leaving ``with``, in whatever way, closes."""

    @abc.abstractmethod
    def close(self) -> None:
        """Ends it. May be called again."""

    def __enter__(self: ClosingT) -> ClosingT:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
