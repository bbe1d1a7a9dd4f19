"""Serves both sites: ``python -m examples.sites --data DIR [--port-one N] [--port-two N]``.

Prints one line when ready and writes ``DIR/sites.json``; SIGTERM and SIGINT end it with status 0.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import uvicorn

from examples.sites import fonoteka, pesennik
from examples.sites.library import prepare


class _Server(uvicorn.Server):
    """A server among others: whoever runs them handles the signals, and hears when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def bind(port: int) -> socket.socket:
    """A listening loopback socket on this port, or on another free one where it is taken."""
    for wanted in (port, 0):
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", wanted))
            # Two sockets may bind one port as long as none listens.
            listener.listen(256)
        except OSError:
            listener.close()
            if wanted == 0:
                raise
            print(f"port {wanted} is taken; another one is used", file=sys.stderr)
        else:
            return listener
    raise AssertionError


async def serve(data: Path, library: Path, port_one: int, port_two: int) -> None:
    """Serves until SIGTERM or SIGINT. ``library``: as `prepare` returns it."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    listeners = {"site_one": bind(port_one), "site_two": bind(port_two)}
    apps = {"site_one": pesennik.create_app(library), "site_two": fonoteka.create_app(library)}
    servers = {
        name: _Server(uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=1))
        for name, app in apps.items()
    }
    tasks = [asyncio.create_task(server.serve([listeners[name]])) for name, server in servers.items()]
    for server in servers.values():
        await server.ready.wait()
    urls = {name: f"http://127.0.0.1:{listener.getsockname()[1]}" for name, listener in listeners.items()}
    partial = data / f".sites-{os.getpid()}.json"
    partial.write_text(json.dumps({**urls, "pid": os.getpid()}) + "\n", encoding="utf-8")
    partial.replace(data / "sites.json")
    print(f"ready: site_one={urls['site_one']} site_two={urls['site_two']}", flush=True)
    waiting = asyncio.create_task(stop.wait())
    await asyncio.wait([waiting, *tasks], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    for server in servers.values():
        server.should_exit = True
    await asyncio.gather(*tasks)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.sites", description="Serves the two sample sites.")
    parser.add_argument("--data", type=Path, required=True, help="folder of the rendered audio and of sites.json")
    parser.add_argument("--port-one", type=int, default=0, help="of «Песенник»; 0: any free one")
    parser.add_argument("--port-two", type=int, default=0, help="of Fonoteka; 0: any free one")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
    library = prepare(arguments.data)
    asyncio.run(serve(arguments.data, library, arguments.port_one, arguments.port_two))


if __name__ == "__main__":
    main()
