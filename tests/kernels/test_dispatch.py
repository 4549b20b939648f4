"""Choosing the kernel path, by the environment and by hand."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from veilform import kernels

SHOW = """
import json, numpy as np
from veilform import kernels
kernels.matmul(np.ones((4, 4), np.uint64), np.ones((4, 4), np.uint64))
print(json.dumps(kernels.info()))
"""


def run(**environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", SHOW],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("path", kernels.available())
def test_the_environment_forces_a_path(path: str) -> None:
    done = run(VEILFORM_KERNELS=path, VEILFORM_THREADS="3")
    assert done.returncode == 0, done.stderr
    info = json.loads(done.stdout)
    assert (info["path"], info["threads"]) == (path, 3)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("VEILFORM_KERNELS", "sse9", "no kernel path 'sse9'"),
        ("VEILFORM_THREADS", "0", "VEILFORM_THREADS must be a whole number from 1"),
        ("VEILFORM_THREADS", "two", "VEILFORM_THREADS must be a whole number from 1"),
    ],
)
def test_a_wrong_environment_is_refused(name: str, value: str, message: str) -> None:
    done = run(**{name: value})
    assert done.returncode != 0
    assert message in done.stderr


def test_the_fastest_path_is_the_default() -> None:
    done = run(VEILFORM_KERNELS="")
    info = json.loads(done.stdout)
    assert info["path"] == info["available"][-1]


def test_wrong_choices() -> None:
    with pytest.raises(ValueError, match="no kernel path"):
        kernels.use("gpu")
    with pytest.raises(ValueError, match="at least one thread"):
        kernels.set_threads(0)


def test_the_extension_was_built() -> None:
    assert "portable" in kernels.available(), "the compiled kernels are missing: run make install"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_has_a_pool_of_its_own() -> None:
    a = np.ones((256, 256), np.uint64)
    threads = kernels.threads()
    kernels.set_threads(2)
    kernels.matmul(a, a)
    child = os.fork()
    if child == 0:
        os._exit(0 if (kernels.matmul(a, a) == 256).all() else 1)
    _, status = os.waitpid(child, 0)
    kernels.set_threads(threads)
    assert status == 0
