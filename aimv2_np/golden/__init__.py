"""Golden outputs: record what every module computes, compare two recordings, verify this machine's arithmetic."""

from aimv2_np.golden.compare import compare
from aimv2_np.golden.comparison import Comparison, Difference
from aimv2_np.golden.record import record
from aimv2_np.golden.recording import Recording
from aimv2_np.golden.statistics import Statistics
from aimv2_np.golden.tolerances import Tolerances
from aimv2_np.golden.writer import RecordingWriter

__all__ = [
    "Comparison",
    "Difference",
    "Recording",
    "RecordingWriter",
    "Statistics",
    "Tolerances",
    "compare",
    "record",
]
