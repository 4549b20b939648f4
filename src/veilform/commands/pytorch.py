"""What commands that train share: PyTorch, its threads, a bar for its progress."""

from __future__ import annotations

from typing import TYPE_CHECKING

from veilform.commands import console
from veilform.errors import InputError

if TYPE_CHECKING:
    from veilform.distill.progress import Bar


def ready(what: str, threads: int) -> Bar:
    """PyTorch with so many threads, 0 for as many as it likes; Transformers, without its own bars.

    Args:
        what: needs it, for the error.

    Raises:
        InputError: it is not installed.
    """
    try:
        import torch
        import transformers
    except ModuleNotFoundError:
        raise InputError(
            f"{what} needs PyTorch and Transformers: pip install 'veilform[train]'"
        ) from None
    from veilform.distill.progress import Bar

    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    if threads:
        torch.set_num_threads(threads)
    return Bar(console.err)
