"""Training in a child process: ``run_training(job)`` starts it, yields its events, and ends with it.

Light to import: torch, transformers and PEFT are loaded in the child only. There, :mod:`.worker` is where to start
reading. A child process, because pausing then really gives the GPU's memory back, a memory cap can be enforced, and
whatever happens in there, the client stays small and responsive.
"""

from .events import (
    BackedOff,
    Checkpointed,
    Failed,
    Fetching,
    Finished,
    Loading,
    Notice,
    Planned,
    Progress,
    TrainEvent,
)
from .job import Created, CreateJob, Merged, MergeJob, TrainJob
from .run import create_adapter, merge_adapter, read_delta, run_training

__all__ = [
    "BackedOff",
    "Checkpointed",
    "CreateJob",
    "Created",
    "Failed",
    "Fetching",
    "Finished",
    "Loading",
    "MergeJob",
    "Merged",
    "Notice",
    "Planned",
    "Progress",
    "TrainEvent",
    "TrainJob",
    "create_adapter",
    "merge_adapter",
    "read_delta",
    "run_training",
]
