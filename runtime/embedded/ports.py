"""TCP ports on loopback: the preferred one, or the next that is free."""

from __future__ import annotations

import errno
import socket
from collections.abc import Collection

_TRIES = 200


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """True if nobody listens there, on this address or on all."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            return False
    with socket.socket() as probe:
        # A listener that just ended leaves connections in TIME_WAIT, which do not keep the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    return True


def choose(wanted: Collection[int], taken: Collection[int] = (), host: str = "127.0.0.1") -> int:
    """The first free port of ``wanted``, else the next free one above its last; never one of ``taken``.

    Ports near the wanted ones lie below the range that systems use for outgoing connections, so a port that is
    remembered is likely to be free at the next start too.
    """
    for port in wanted:
        if port not in taken and is_free(port, host):
            return port
    last = list(wanted)[-1]
    for port in range(last + 1, min(last + _TRIES, 65536)):
        if port not in taken and is_free(port, host):
            return port
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
