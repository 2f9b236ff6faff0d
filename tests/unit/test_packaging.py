"""What a release is made of: both distributions are built from this checkout, and looked into."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path, PurePosixPath

import pytest

import postwire

ROOT = Path(__file__).parents[2]
HOME = "https://github.com/postwire/postwire"
LINK = re.compile(r"\]\(([^)\s]+)\)|href=\"([^\"]+)\"")
"""A target in Markdown, or in the HTML within it."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "--directory", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> dict[str, bytes]:
    (path,) = built.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def sdist(built: Path) -> dict[str, bytes]:
    """The files below the folder that all of it is in."""
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        found = {member.name: archive.extractfile(member) for member in archive if member.isfile()}
        return {name.partition("/")[2]: file.read() for name, file in found.items() if file}


@pytest.fixture(scope="module")
def metadata(wheel: dict[str, bytes]) -> Message:
    (name,) = (name for name in wheel if name.endswith(".dist-info/METADATA"))
    return message_from_bytes(wheel[name])


def sources_in(folder: Path) -> list[Path]:
    """All files but those that Python compiles them to."""
    return [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]


def test_the_version_is_the_one_that_the_package_tells(metadata: Message) -> None:
    assert metadata["Version"] == postwire.__version__


def test_an_index_says_where_the_project_lives(metadata: Message) -> None:
    urls = dict(url.split(", ", 1) for url in metadata.get_all("Project-URL", []))
    assert set(urls) == {"Homepage", "Documentation", "Changelog", "Issues", "Security", "Source"}
    assert all(url.startswith(HOME) for url in urls.values())
    for url in urls.values():
        if path := url.partition("/blob/main/")[2]:
            assert (ROOT / path).exists(), url


def test_each_python_that_it_runs_on_is_named(metadata: Message) -> None:
    prefix = "Programming Language :: Python :: "
    named = [one.removeprefix(prefix) for one in metadata.get_all("Classifier", []) if one.startswith(prefix)]
    versions = [one for one in named if re.fullmatch(r"3\.\d+", one)]
    assert metadata["Requires-Python"] == f">={versions[0]}"
    assert versions == [f"3.{minor}" for minor in range(int(versions[0][2:]), int(versions[-1][2:]) + 1)]
    assert f"3.{sys.version_info.minor}" in versions
    assert {"3", "3 :: Only"} <= set(named)


def test_links_that_an_index_shows_are_absolute_and_lead_somewhere(metadata: Message) -> None:
    text = metadata.get_payload(decode=True)
    assert isinstance(text, bytes)
    text = text.decode()
    targets = [one or other for one, other in LINK.findall(text)]
    assert len(targets) > 15
    assert [target for target in targets if not target.startswith(("https://", "#"))] == []
    ours = [target for target in targets if target.startswith(f"{HOME}/blob/main/")]
    assert len(ours) > 10
    for target in ours:
        assert (ROOT / target.removeprefix(f"{HOME}/blob/main/").partition("#")[0]).exists(), target
    # Nothing else of the page has changed.
    relative = text.replace(f"{HOME}/blob/main/", "")
    assert relative.strip() == (ROOT / "README.md").read_text(encoding="utf-8").strip()


def test_the_wheel_has_the_server_and_the_client_and_nothing_else(wheel: dict[str, bytes]) -> None:
    tops = {PurePosixPath(name).parts[0] for name in wheel}
    base = f"postwire-{postwire.__version__}"
    assert tops == {"postwire", "postwire_client", f"{base}.dist-info", f"{base}.data"}
    assert [name for name in wheel if name.startswith(f"{base}.data/")] == [
        f"{base}.data/data/share/man/man1/postwire.1"
    ]
    assert {"postwire/py.typed", "postwire_client/py.typed", "postwire/v1/message_pb2.pyi"} <= set(wheel)
    # What is not imported has to be there as well.
    server, client = ROOT / "server", ROOT / "clients" / "python"
    sources = {
        path.relative_to(base).as_posix()
        for base, package in ((server, "postwire"), (client, "postwire_client"))
        for path in sources_in(base / package)
    }
    assert sources == {name for name in wheel if not name.startswith(base)}


def test_the_source_distribution_has_what_one_needs_to_run_it_and_to_read_about_it(sdist: dict[str, bytes]) -> None:
    needed = ["pyproject.toml", "postwire.toml", "LICENSE"]
    needed += ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"]
    for folder in ("docs", "deploy", "examples", "requirements", "protos"):
        needed += [path.relative_to(ROOT).as_posix() for path in sources_in(ROOT / folder)]
    assert sorted(set(needed) - set(sdist)) == []
    tops = {PurePosixPath(name).parts[0] for name in sdist if "/" in name}
    assert tops == {"server", "clients", "console", "protos", "docs", "deploy", "examples", "requirements"}
    assert [name for name in sdist if "__pycache__" in name or "node_modules" in name] == []


def test_what_its_pages_link_to_is_in_the_source_distribution(sdist: dict[str, bytes]) -> None:
    folders = {parent.as_posix() for name in sdist for parent in PurePosixPath(name).parents}
    for name, page in sdist.items():
        if not name.endswith(".md"):
            continue
        for target in (one or other for one, other in LINK.findall(page.decode())):
            path = target.partition("#")[0]
            if path and "://" not in path:
                parts: list[str] = []
                for part in (PurePosixPath(name).parent / path).parts:
                    if part == "..":
                        parts.pop()
                    else:
                        parts.append(part)
                found = "/".join(parts)
                assert found in sdist or found in folders, f"{name}: {target}"
