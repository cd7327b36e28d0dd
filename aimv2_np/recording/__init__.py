"""What every module of a network computes, to a file and back: our models, and other frameworks through `adapters`.

Here belong the file's format, its reader and writer, the statistics that stand for arrays, and what runs a model to
fill it. What two recordings have in common is `comparison`'s business, which is not known here.
"""

from aimv2_np.recording.record import record
from aimv2_np.recording.recording import Recording
from aimv2_np.recording.statistics import Statistics
from aimv2_np.recording.writer import RecordingWriter

__all__ = ["Recording", "RecordingWriter", "Statistics", "record"]
