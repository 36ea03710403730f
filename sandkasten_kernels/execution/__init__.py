"""One piece of code or one command, from request to outcome."""

from .collector import Collector
from .first_result import FirstResult, TimedSink
from .outcome import Outcome
from .outputs import as_json, output_of
from .runner import Job, Sink, is_too_much, run

__all__ = [
    "Collector",
    "FirstResult",
    "Job",
    "Outcome",
    "Sink",
    "TimedSink",
    "as_json",
    "is_too_much",
    "output_of",
    "run",
]
