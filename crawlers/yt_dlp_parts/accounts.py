"""Cookies of the operator's accounts, one file per source, from a folder that only the settings name."""

from __future__ import annotations

import io
import stat
from http.cookiejar import LoadError
from pathlib import Path

from yt_dlp.cookies import YoutubeDLCookieJar

MAX_COOKIE_FILE_BYTES = 1_000_000


class AccountError(Exception):
    """A cookie file cannot be used. The message names the file and the remedy, never what stands in it."""


class Accounts:
    """``folder``: holds ``<source>.cookies.txt``, in Netscape's format, as browsers' extensions export it."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder

    def __repr__(self) -> str:
        return f"Accounts({self._folder})"

    def path(self, adapter: str) -> Path | None:
        """The cookie file of a source, if there is one."""
        if self._folder is None:
            return None
        path = self._folder / f"{adapter}.cookies.txt"
        return path if path.exists() else None

    def cookies(self, adapter: str) -> YoutubeDLCookieJar:
        """A new jar with the account's cookies; an empty one without an account. The file is never written.

        Raises AccountError.
        """
        path = self.path(adapter)
        if path is None:
            return YoutubeDLCookieJar()
        try:
            status = path.stat()
            if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_COOKIE_FILE_BYTES:
                raise AccountError(f"{path} is no cookie file; export the cookies of this site in Netscape's format")
            if status.st_mode & (stat.S_IROTH | stat.S_IWOTH):
                raise AccountError(f"{path} can be read or written by everybody; `chmod 600` it")
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise AccountError(f"{path}: {error.strerror}; let the worker's user read it") from None
        except UnicodeDecodeError:
            raise AccountError(f"{path} is not UTF-8 text; export the cookies again, in Netscape's format") from None
        jar = YoutubeDLCookieJar(io.StringIO(text))
        try:
            jar.load()
        except (LoadError, ValueError):
            # Its own message quotes the line, and with it the secret.
            raise AccountError(f"{path} is not in Netscape's cookie format; export the cookies again") from None
        return jar
