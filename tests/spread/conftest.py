"""Services in threads, as the tests of serve have them."""

from tests.serve.conftest import batch, deployment

__all__ = ["batch", "deployment"]
