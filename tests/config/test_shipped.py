"""The folders that come with the package."""

from __future__ import annotations

from pathlib import Path

import pytest

from wshttp.config import StaticSettings, shipped
from wshttp.config import shipped as _function

ROOT = Path(__file__).parents[2]


def test_shipped_folders_are_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working directory does not matter, even where it has a folder of that name."""
    (tmp_path / "static").mkdir()
    monkeypatch.chdir(tmp_path)
    assert shipped("static") == ROOT / "static"
    assert shipped("config") == ROOT / "config"


def installed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pretend that the package lies in a folder of installed packages."""
    package = folder / "site-packages" / "wshttp"
    package.mkdir(parents=True)
    monkeypatch.setitem(_function.__globals__, "_PACKAGE", package)
    return package


def test_shipped_folders_of_a_wheel_are_inside_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package has its own, and never takes a neighbour's for it."""
    package = installed(tmp_path, monkeypatch)
    (package.parent / "static").mkdir()
    with pytest.raises(FileNotFoundError, match="installed without its folder 'static'"):
        shipped("static")
    (package / "_shipped" / "static").mkdir(parents=True)
    assert shipped("static") == package / "_shipped" / "static"


def test_static_root_is_the_shipped_one_or_relative_to_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`static` is the package's folder; anything else is where it says, from here."""
    monkeypatch.chdir(tmp_path)
    assert StaticSettings().folder == ROOT / "static"
    assert StaticSettings(root="./static").folder.resolve() == tmp_path / "static"
    assert StaticSettings(root="/srv/www").folder == Path("/srv/www")
