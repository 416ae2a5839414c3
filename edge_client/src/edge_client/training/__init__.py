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
from .failures import AdapterError, CrowdedError, ModelError, NoRoomError
from .job import Created, CreateJob, Merged, MergeJob, TrainJob
from .model_files import checked_model
from .plain_lora import lora_config
from .run import create_adapter, merge_adapter, read_delta, run_training

__all__ = [
    "AdapterError",
    "BackedOff",
    "Checkpointed",
    "CreateJob",
    "Created",
    "CrowdedError",
    "Failed",
    "Fetching",
    "Finished",
    "Loading",
    "MergeJob",
    "Merged",
    "ModelError",
    "NoRoomError",
    "Notice",
    "Planned",
    "Progress",
    "TrainEvent",
    "TrainJob",
    "checked_model",
    "create_adapter",
    "lora_config",
    "merge_adapter",
    "read_delta",
    "run_training",
]
