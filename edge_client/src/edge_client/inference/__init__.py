"""Evaluating and answering with a base model and an adapter, in a child process. Light to import."""

from .client import InferenceProcess
from .protocol import Answers, Evaluation, Generated, Open, Ready, RecordLoss, Scored, TaskFigure, TaskFigures

__all__ = [
    "Answers",
    "Evaluation",
    "Generated",
    "InferenceProcess",
    "Open",
    "Ready",
    "RecordLoss",
    "Scored",
    "TaskFigure",
    "TaskFigures",
]
