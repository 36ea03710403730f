"""Counters, timings and the events log."""

from .activity import STEP_SECONDS, Activity
from .events import EventLog, Kind
from .metrics import Metrics

__all__ = ["STEP_SECONDS", "Activity", "EventLog", "Kind", "Metrics"]
