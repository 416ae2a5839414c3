"""A simulated experiment that fits into a test: what all of them share, and the folder that it runs from."""

from pathlib import Path

from tiny_model import make_records, save_model, write_records

COMMON = """
[data]
files = ["data.jsonl"]
held_out = 6
[model]
id = "model"
[partition]
kind = "iid"
[training]
epochs = 1
batch_size = 4
learning_rate = 0.01
max_length = 200
[adapter]
rank = 4
modules = ["q_proj", "v_proj"]
[machine]
device = "cpu"
threads = 1
"""
"""Other sections are the test's own."""


def make_home(folder: Path, records: int, settings: str | None = None) -> Path:
    """``folder`` with a model, so many records and, if given, ``settings`` as EXPERIMENT.toml."""
    save_model(folder / "model")
    write_records(folder / "data.jsonl", make_records(records))
    if settings is not None:
        (folder / "EXPERIMENT.toml").write_text(settings)
    return folder
