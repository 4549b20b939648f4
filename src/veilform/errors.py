"""Every error that Veilform raises on purpose.

    VeilformError
    ├── InputError              the caller's text, file or option cannot be used
    │   ├── ModelError          a folder is no checkpoint, or the model cannot be served
    │   └── RangeError          a value left its calibrated range: there is no answer
    ├── StockError              correlated randomness is missing, used up, or for something else
    │   └── StockLow            none is ready yet: try again a little later
    ├── Overloaded              there is too much to do already; nothing was begun
    ├── DeadlineExceeded        there was no answer in the time that the caller gave
    ├── ConnectionFailed        a peer cannot be reached, or went away
    │   └── AuthenticationError a certificate is foreign, expired, or of the wrong role
    └── ProtocolError           a peer sent something the protocol does not allow here

Messages say what happened, to what, and what to do next. They never hold a secret.
"""

from __future__ import annotations


class VeilformError(Exception):
    """Base of all errors; ``exit_code`` is what the command line returns for it."""

    exit_code = 1


class InputError(VeilformError):
    """The caller's text, file or option cannot be used as it is."""

    exit_code = 2


class ModelError(InputError):
    """A folder is no checkpoint, or its model cannot be served."""

    exit_code = 3


class RangeError(InputError):
    """A value left its calibrated range, so there is no trustworthy answer."""

    exit_code = 4


class StockError(VeilformError):
    """Correlated randomness is missing, used up, damaged, or made for something else."""

    exit_code = 5


class StockLow(StockError):
    """No stock is ready. Attribute ``retry_s``: seconds after which to try again."""

    exit_code = 9

    def __init__(self, message: str, retry_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_s = retry_s


class Overloaded(VeilformError):
    """There is too much to do already; nothing was begun, and no stock was used."""

    exit_code = 10


class DeadlineExceeded(VeilformError):
    """There was no answer in the time that the caller gave."""

    exit_code = 11


class ConnectionFailed(VeilformError):
    """A peer cannot be reached, or went away in the middle."""

    exit_code = 6


class AuthenticationError(ConnectionFailed):
    """A peer's certificate is foreign, expired, or belongs to another role."""

    exit_code = 7


class ProtocolError(VeilformError):
    """A peer sent something that the protocol does not allow at this point."""

    exit_code = 8


def of_exit_code(code: int) -> type[VeilformError]:
    """The error for which the command line returns ``code``: what a child process failed with."""
    known = (InputError, ModelError, RangeError, StockError, StockLow, Overloaded)
    for kind in (*known, DeadlineExceeded, ConnectionFailed, AuthenticationError, ProtocolError):
        if kind.exit_code == code:
            return kind
    return VeilformError
