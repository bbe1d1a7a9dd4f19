"""The command `versions`. Each module of this package that has ``register(app)`` adds its subcommands."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import pkgutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from runtime.settings import Settings

HELP = "Finds every version of a song: crawls, fingerprints, links, asks moderators, serves a catalog."


class CommandError(Exception):
    """What a person did or met, in one line with the remedy; ends the command with status 1."""


def settings() -> Settings:
    """The settings of this invocation (environment and ``--data-dir``), with an absolute data folder."""
    loaded = Settings()
    return loaded.model_copy(update={"data_dir": loaded.data_dir.expanduser().absolute()})


def use_data_dir(data_dir: Path | None) -> None:
    """Makes this folder the data folder of this process and of those it starts."""
    if data_dir is not None:
        os.environ["VERSIONS_DATA_DIR"] = str(data_dir.expanduser().absolute())


DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Folder of the stack and its data (also VERSIONS_DATA_DIR).", show_default=False),
]


def build_app() -> typer.Typer:
    """The application with all subcommands."""
    app = typer.Typer(
        name="versions",
        help=HELP,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback()
    def root(
        data_dir: DataDir = None,
        verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show what goes on inside.")] = False,
    ) -> None:
        from runtime.logging import configure

        use_data_dir(data_dir)
        configure("DEBUG" if verbose else "WARNING")

    for module in pkgutil.iter_modules(__path__):
        register = getattr(importlib.import_module(f"{__name__}.{module.name}"), "register", None)
        if register is not None:
            register(app)
    return app


def main() -> None:
    """Runs the command line: status 0, 1 with one line on standard error, or 2 on wrong usage."""
    try:
        build_app()()
    except Exception as error:
        if os.environ.get("VERSIONS_DEBUG") == "1":
            raise
        from runtime.logging import redact

        text = " ".join((str(error) or type(error).__name__).split())
        sys.stderr.write(f"versions: {redact(_kind(error) + text)}\n")
        sys.exit(1)


def command() -> None:
    """`main` as a process of its own."""
    code: object = 0
    try:
        main()
    except SystemExit as ended:
        code = ended.code
    if "temporalio.bridge" not in sys.modules:
        sys.exit(code)  # type: ignore[arg-type]
    # The threads of Temporal's client outlive the interpreter, and one that calls into it while it ends aborts the
    # process: work that was done would end with status 134.
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code if isinstance(code, int) else 0 if code is None else 1)


def _kind(error: Exception) -> str:
    """Nothing for errors that were worded for people (they carry a code); else the type, which says what happened."""
    worded = isinstance(error, CommandError) or hasattr(error, "code") or isinstance(error, ValueError)
    return "" if worded else f"{type(error).__name__}: "
