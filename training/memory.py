"""Memory that a training step frees is kept for the next one, where the C library can do so."""

import ctypes

# <malloc.h>: by default glibc hands large blocks back to the system, and every step then pays for
# fresh pages, each zeroed and mapped at its first touch.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_NEVER = 2**31 - 1
_LARGEST_KEPT = 32 * 2**20  # glibc takes no more
_GROWTH = 256 * 2**20


def keep_freed_memory() -> bool:
    """Let this process keep what it frees; return whether the C library took it up."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # musl, macOS, Windows
        return False
    wanted = ((_MMAP_THRESHOLD, _LARGEST_KEPT), (_TRIM_THRESHOLD, _NEVER), (_TOP_PAD, _GROWTH))
    taken = [mallopt(name, value) == 1 for name, value in wanted]
    return all(taken)
