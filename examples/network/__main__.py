"""``python -m examples.network --data DIR``: serves the sites until it is ended.

``DIR/network.json`` names their URLs as soon as all are up; ``DIR/requests.jsonl`` holds every request.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
from pathlib import Path

from examples.network.hostile import Dead, Forbidden
from examples.network.http import Server
from examples.network.web import sites

URLS = "network.json"
LOG = "requests.jsonl"


async def serve(data: Path, pages: int) -> None:
    """Serves until SIGTERM or SIGINT."""
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    hosts = [*(site for site in sites(pages) if not isinstance(site, Dead)), Forbidden(0)]
    for site in hosts:
        site.prepare()
    async with Server(list(hosts), data / LOG).serving() as urls:
        for site in hosts:
            site.forbidden = urls[Forbidden.name]
        fresh = data / f"{URLS}.new"
        fresh.write_text(json.dumps(urls))
        fresh.replace(data / URLS)
        await ended.wait()


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--pages", type=int, default=20)
    options = parser.parse_args()
    options.data.mkdir(parents=True, exist_ok=True)
    asyncio.run(serve(options.data, options.pages))


if __name__ == "__main__":
    main()
