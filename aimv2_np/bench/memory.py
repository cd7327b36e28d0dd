"""How much memory a process takes, as Linux accounts for it.

A mapped checkpoint is memory that all processes share and that the system may drop at any time; what a process takes
for itself is its private memory. Elsewhere than on Linux only the peak is known, and on Windows nothing is.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

KIB = 1024
ROOT = Path("/proc")


@dataclass(frozen=True)
class Memory:
    """Bytes; None for what this system does not tell.

    Attributes:
        resident: all pages in memory, those of mapped files and of libraries included.
        proportional: the same, each page divided by the number of processes that share it (PSS). These add up.
        private: pages that no other process has, of files too.
        anonymous: pages that belong to no file: what the process has allocated and written to.
        file: resident pages of files.
        peak: the largest `resident` so far, since the start or the latest `reset_peak`.
    """

    resident: int | None = None
    proportional: int | None = None
    private: int | None = None
    anonymous: int | None = None
    file: int | None = None
    peak: int | None = None

    @property
    def peak_anonymous(self) -> int | None:
        """The peak without the pages of files that are resident now: exact if those have all been there throughout."""
        return None if self.peak is None or self.file is None else self.peak - self.file


def read_memory() -> Memory:
    """The memory of this process."""
    folder = ROOT / "self"
    if not (folder / "smaps_rollup").exists():
        return Memory(peak=_peak_by_rusage())
    rollup, status = (_kibibytes((folder / name).read_text()) for name in ("smaps_rollup", "status"))
    return Memory(
        resident=rollup["Rss"],
        proportional=rollup["Pss"],
        private=rollup["Private_Clean"] + rollup["Private_Dirty"],
        anonymous=rollup["Anonymous"],
        file=status["RssFile"] + status["RssShmem"],
        peak=status["VmHWM"],
    )


def reset_peak() -> bool:
    """Let `peak` begin anew at what is resident now; False where the system does not permit it."""
    try:
        (ROOT / "self" / "clear_refs").write_text("5")  # proc(5): "reset the peak resident set size"
    except OSError:
        return False
    return True


def _kibibytes(text: str) -> dict[str, int]:
    """The lines "Name:   123 kB" as bytes by name."""
    lines = (line.split() for line in text.splitlines())
    return {words[0].rstrip(":"): int(words[1]) * KIB for words in lines if len(words) == 3 and words[2] == "kB"}


def _peak_by_rusage() -> int | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else KIB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
