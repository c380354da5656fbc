"""Huge pages for what a CPU computes in: our commands ask glibc for them as they start.

XLA:CPU allocates what lies between the layers, hundreds of MB, anew at each step, and each step
pays for the kernel to fill that memory page by page, 4 KB each. From version 2.35 on glibc asks for
pages of 2 MB where its tunable `glibc.malloc.hugetlb` is 1. It looks once, when a process starts:
so a command starts once more, as the same process, before it imports what takes long.

Whoever sets that tunable, to 0 too, has decided. Scripts and notebooks set it before Python starts.
"""

import os
import sys
from collections.abc import Mapping
from contextlib import suppress

_VARIABLE, _TUNABLE = "GLIBC_TUNABLES", "glibc.malloc.hugetlb"
# A loader that drops tunables, as for a Python with capabilities, must not make us start for ever.
_STARTED_AGAIN = "JAXCNN_STARTED_AGAIN"
_KERNEL = "/sys/kernel/mm/transparent_hugepage/enabled"


def can_help(libc: str, kernel: str) -> bool:
    """Whether the tunable changes anything.

    libc: its name and version, "glibc 2.36"; ValueError if they are not of this form.
    kernel: its modes, "always [madvise] never": under `always` all memory has huge pages without
      asking, under `never` none has.
    """
    name, version = libc.split()
    major, minor = map(int, version.split(".")[:2])
    return name == "glibc" and (major, minor) >= (2, 35) and "[madvise]" in kernel


def variables(environ: Mapping[str, str]) -> dict[str, str]:
    """What a process has to find in its environment besides `environ`; {} if nothing is to be won.
    Other tunables that are set stay.
    """
    own = environ.get(_VARIABLE, "")
    if sys.platform != "linux" or _TUNABLE in own:
        return {}
    try:
        with open(_KERNEL) as file:  # noqa: PTH123  importing pathlib takes 5 ms
            useful = can_help(os.confstr("CS_GNU_LIBC_VERSION") or "", file.read())
    except (OSError, ValueError):  # another C library, or a container without /sys
        return {}
    return {_VARIABLE: f"{own}:{_TUNABLE}=1".lstrip(":")} if useful else {}


def is_command() -> bool:
    """Whether Python was started for one of our commands: as `python -m jaxcnn...`, or as the
    script `jaxcnn`; not for a debugger, a profiler, a test or a notebook that runs one.
    """
    words = iter(sys.orig_argv[1:])
    for word in words:
        if not word.startswith("-"):
            return os.path.basename(word) == "jaxcnn"  # noqa: PTH119  as above
        if word.startswith(("-W", "-X", "--")):  # options with a value, which may be the next word
            if word in ("-W", "-X", "--check-hash-based-pycs"):
                next(words, None)
        elif "m" in word:  # -m MODULE, -mMODULE, or after other options, -um MODULE
            module = word.partition("m")[2] or next(words, "")
            return module.partition(".")[0] == "jaxcnn"
        elif "c" in word:
            return False
    return False


def start_again() -> None:
    """Starts this process again with `variables`, if they are any, and never more than once.

    Process id, streams, working directory and command line, Python's options included, stay. Where
    it cannot be started it goes on as it is.
    """
    more = variables(os.environ)
    if more and _STARTED_AGAIN not in os.environ:
        with suppress(OSError):
            os.execve(sys.executable, sys.orig_argv, os.environ | more | {_STARTED_AGAIN: "1"})
