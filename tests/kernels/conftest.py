from __future__ import annotations

from collections.abc import Iterator

import pytest

from veilform import kernels


@pytest.fixture(params=kernels.available())
def path(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each kernel path that this CPU can run, in use for the test."""
    before, threads = kernels.info()["path"], kernels.threads()
    kernels.use(request.param)
    yield request.param
    kernels.use(str(before))
    kernels.set_threads(threads)
