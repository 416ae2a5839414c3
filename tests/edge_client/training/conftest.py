"""The tiny model and a new adapter for it, made once."""

from pathlib import Path

import pytest
from tiny_model import Workshop, new_adapter, save_model


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    import torch

    torch.set_num_threads(1)  # for a model this small, waiting for a second one takes longer than the work


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("models") / "tiny-llama")


@pytest.fixture(scope="session")
def adapter_folder(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return new_adapter(model_folder, tmp_path_factory.mktemp("adapters") / "new")


@pytest.fixture
def workshop(tmp_path: Path, model_folder: Path, adapter_folder: Path) -> Workshop:
    return Workshop(tmp_path, model_folder, adapter_folder)
