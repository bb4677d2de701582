"""What is installed is what is tested: the wheel and the sdist, what is in them, and the server that they bring."""

from __future__ import annotations

import json
import os
import shutil
import site
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import ROOT, environment, serving

SOURCES = ["wshttp", "static", "config", "docs", "examples", "tests", "benchmarks"]
UNWANTED = shutil.ignore_patterns("__pycache__", ".*", "*.htpasswd")

APP = """
import sys
from wshttp.config import shipped

def setup(server):
    @server.get("/origins")
    def origins(request):
        files = {name: module.__file__ for name, module in sys.modules.items() if name.startswith("wshttp")}
        return {"files": files, "path": sys.path, "shipped": [str(shipped("static")), str(shipped("config"))]}
"""


def build(source: Path, folder: Path, *options: str) -> list[Path]:
    """Build with the tools that are installed, so that nothing is fetched; return what was built."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), *options, str(source)]
    done = subprocess.run(command, env=environment(PYTHONWARNINGS=""), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source tree, and in it a users file as `make run` invites to make one."""
    copy = tmp_path_factory.mktemp("source") / "wshttp"
    copy.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=UNWANTED)
    for file in [ROOT / ".gitignore", *(file for file in ROOT.iterdir() if file.is_file())]:
        shutil.copy(file, copy / file.name)
    (copy / "config" / "users.htpasswd").write_text("ada:$2b$12$secret\n")
    return copy


@pytest.fixture(scope="module")
def built(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sdist, and the wheel that was built from it."""
    wheel, sdist = build(tree, tmp_path_factory.mktemp("built"))
    assert (wheel.suffix, sdist.suffix) == (".whl", ".gz")
    return sdist, wheel


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """An environment with what wshttp depends on, and without wshttp; the path of its Python."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    [packages] = (tmp_path / "venv").glob("lib/python3*/site-packages")
    # A folder named here is searched, but what its own .pth files name is not: no editable install comes along.
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    return tmp_path / "venv" / "bin" / "python"


def install(python: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", *arguments]
    pip = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    env = clean() | pip | {"PYTHONWARNINGS": ""}  # pip's own are not ours
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def clean() -> dict[str, str]:
    """Return an environment that points nowhere near the source tree."""
    return {name: value for name, value in environment().items() if name != "PYTHONPATH"}


def shipped_files(root: Path) -> Iterator[str]:
    """Name what a tree ships besides code."""
    for folder in ("static", "config"):
        for file in (root / folder).rglob("*"):
            if file.is_file() and file.suffix != ".htpasswd":
                yield str(file.relative_to(root))


def test_wheel_holds_the_package_and_what_it_ships(built: tuple[Path, Path], tree: Path) -> None:
    """Every module, every script of a store, `py.typed`, `static/` and `config/`; no tests, and nobody's users."""
    with zipfile.ZipFile(built[1]) as wheel:
        names = set(wheel.namelist())
    modules = [file for suffix in ("py", "lua") for file in (tree / "wshttp").rglob(f"*.{suffix}")]
    code = {str(file.relative_to(tree)) for file in modules} | {"wshttp/py.typed"}
    assert "wshttp/stores/redis/take_due.lua" in code
    shipped = {f"wshttp/_shipped/{name}" for name in shipped_files(tree)}
    assert {name for name in names if ".dist-info/" not in name} == code | shipped
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_sdist_holds_what_it_takes_to_build_and_test(built: tuple[Path, Path], tree: Path) -> None:
    """Sources, shipped folders, tests and documents; and nobody's users."""
    with tarfile.open(built[0]) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert set(shipped_files(tree)) <= names
    wanted = {"pyproject.toml", "README.md", "LICENSE", "Makefile", "run.py", "wshttp/server.py", "tests/processes.py"}
    assert wanted <= names
    assert "docs/start.md" in names
    assert [name for name in names if name.endswith(".htpasswd")] == []


def test_wheel_built_from_the_tree_holds_nobody_s_users(tree: Path, tmp_path: Path) -> None:
    """`pip install .` takes the tree as it lies there, ignored files too; a users file must not travel."""
    [wheel] = build(tree, tmp_path, "--wheel")
    with zipfile.ZipFile(wheel) as opened:
        assert [name for name in opened.namelist() if name.endswith(".htpasswd")] == []
        assert "wshttp/_shipped/config/wshttp.yaml" in opened.namelist()


def test_wheel_serves_without_the_source_tree(built: tuple[Path, Path], fresh: Path, tmp_path: Path) -> None:
    """Installed in a fresh environment, `wshttp serve` serves page and session, and takes nothing from the sources."""
    install(fresh, str(built[1]))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "own.py").write_text(APP)
    command = (str(fresh.with_name("wshttp")), "serve")
    with serving("--app", "own:setup", command=command, cwd=elsewhere, inherit=clean()) as server:
        assert "<title>" in server.get("/").text
        assert json.loads(server.get("/wshttp/session").body)["user"] is None
        origins = json.loads(server.get("/origins").body)
        assert server.stop() == 0
    named = [*origins["files"].values(), *origins["path"], *origins["shipped"]]
    assert [place for place in named if place and Path(place).is_relative_to(ROOT / "wshttp")] == []
    assert all(Path(place).is_relative_to(fresh.parents[1]) for place in origins["files"].values())
    assert all("/_shipped/" in place for place in origins["shipped"])


def test_editable_install_serves_the_source_tree_s_folders(tree: Path, fresh: Path, tmp_path: Path) -> None:
    """Whoever works on the page sees the page being worked on, and not a copy from the day of the install."""
    pytest.importorskip("editables")
    install(fresh, "--no-build-isolation", "--editable", str(tree))
    (tree / "static" / "new.txt").write_text("just written")
    with serving(command=(str(fresh.with_name("wshttp")), "serve"), cwd=tmp_path, inherit=clean()) as server:
        assert server.get("/new.txt").text == "just written"
