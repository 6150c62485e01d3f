import platform
import subprocess
import sys

import pytest

# Eight blocks of 8 MB come and go, as in a step; what counts are pages touched for the first time.
_PROGRAM = """
import ctypes, resource, sys
import torch
from grove.training.memory import keep_freed_memory

torch.set_num_threads(1)
# What glibc begins with; it may raise it after a while, by what came and went before.
assert ctypes.CDLL(None).mallopt(-3, 128 * 1024)
if sys.argv[1] == "keep":
    assert keep_freed_memory()

def step():
    blocks = [torch.ones(2_000_000) for _ in range(8)]
    del blocks

for _ in range(4):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def first_touches(mode: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, mode], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_a_step_touches_no_fresh_page_once_memory_is_kept() -> None:
    assert first_touches("keep") < 100
    assert first_touches("give back") > 1000
