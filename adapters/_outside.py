"""Adapters that live outside this package: files in folders of the user's own, and entry points of other packages.

Whoever names a folder in ``VERSIONS_ADAPTERS`` lets its Python files run, as with ``PYTHONPATH``. A file that cannot be
loaded is told of and costs nothing but itself: a mistake in it must not stop a worker that crawls other sources.
"""

from __future__ import annotations

import logging
import os
import sys
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

VARIABLE = "VERSIONS_ADAPTERS"
"""Folders, separated as in ``PATH``."""
ENTRY_POINTS = "versions.adapters"
"""Group of the entry points that other packages register their adapter modules under."""
_PACKAGE = "versions_adapters"

logger = logging.getLogger(__name__)

_loaded: dict[str, Path] = {}
"""Module name to its file."""
_problems: dict[str, str] = {}
_entry_points_loaded = False


def folders() -> list[Path]:
    """The folders of the user's own adapters, absolute."""
    named = os.environ.get(VARIABLE, "").split(os.pathsep)
    return list(dict.fromkeys(Path(name).expanduser().absolute() for name in named if name.strip()))


def problems() -> dict[str, str]:
    """What could not be loaded, by file or entry point, and why."""
    return dict(_problems)


def load() -> set[str]:
    """Loads what is not loaded yet; returns the names of modules that count no more: half loaded, or their folder is
    not named any more."""
    global _entry_points_loaded
    present = folders()
    gone = {name for name, path in _loaded.items() if path.parent not in present}
    for name in gone:
        _forget(name)
    for folder in present:
        if not folder.is_dir():
            _problems[str(folder)] = f"{VARIABLE} names it, and it is no folder"
            continue
        _problems.pop(str(folder), None)
        for path in sorted(folder.glob("*.py")):
            if is_adapter_file(path) and str(path) not in _problems and module_name(path) not in _loaded:
                gone |= _load_file(path)
    if not _entry_points_loaded:
        _entry_points_loaded = True
        for entry in entry_points(group=ENTRY_POINTS):
            try:
                entry.load()
            except Exception as error:  # whatever a module of somebody else's does
                _problem(f"{ENTRY_POINTS}: {entry.name}", f"{type(error).__name__}: {error}")
    return gone


def forget() -> set[str]:
    """Makes the next `load` read all files again; returns the names of their modules."""
    names = set(_loaded)
    for name in names:
        _forget(name)
    _problems.clear()
    return names


def is_adapter_file(path: Path) -> bool:
    """Whether a file of a folder is taken for an adapter: no tests, nothing that begins with an underscore."""
    return path.stem.isidentifier() and not path.stem.startswith(("_", "test_")) and path.stem != "conftest"


def module_name(path: Path) -> str:
    """Under which name a file is loaded: two folders may hold files of one name."""
    number = folders().index(path.parent) if path.parent in folders() else 0
    return f"{_PACKAGE}_{number}_{path.stem}" if number else f"{_PACKAGE}_{path.stem}"


def _load_file(path: Path) -> set[str]:
    """Empty, or the name of the module if it could not be loaded."""
    name = module_name(path)
    module = ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module
    try:
        # Without the import system: its cache takes a file that was changed within a second for the old one.
        exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)  # noqa: S102
    except Exception as error:  # whatever the user's file does
        del sys.modules[name]
        _problem(str(path), f"{type(error).__name__}: {error}")
        return {name}
    _loaded[name] = path
    return set()


def _forget(name: str) -> None:
    _loaded.pop(name, None)
    sys.modules.pop(name, None)


def _problem(place: str, text: str) -> None:
    if place not in _problems:
        _problems[place] = text
        logger.warning("adapter not loaded: %s: %s", place, text)
