"""Serve a table's page to a browser on this machine, with the runs that are not done; nothing is written."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from openmix.benchmark.escape import html as escape
from openmix.errors import InputError
from openmix.regular_file import read_tail

HOST = '127.0.0.1'
_MOST_BYTES = 16 << 20  # of a file, its end
_TEXT = 'text/plain; charset=utf-8'
_HTML = 'text/html; charset=utf-8'
_PICTURES = {'.png': 'image/png'}
# A page needs its own style and script, and asks this server alone; what runs left is shown, never run.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"
_POLICY += "; base-uri 'self'; frame-ancestors 'none'"


def server(port: int, root: Path, page: Callable[[], str], now: Callable[[], tuple[int, str]]) -> ThreadingHTTPServer:
    """Make a server for this machine alone: `/` is the page, `/now` the runs that are not done, the rest are files.

    Args:
        port: 0: one that is free.
        root: the work folder, of which files are shown.
        page: makes the page.
        now: makes (number of runs that are done, HTML of the others).

    Raises:
        InputError: the port is taken.
    """

    # All runs are read for an answer, which is done for one page at a time.
    lock = threading.Lock()

    class Answers(BaseHTTPRequestHandler):
        server_version, sys_version = 'openmix', ''
        timeout = 60  # seconds, for a connection that asks nothing

        def do_GET(self) -> None:
            # A page of another site may not read this one by giving its own name this address.
            if self.headers.get('Host', '').partition(':')[0] not in (HOST, 'localhost'):
                self.answer(HTTPStatus.FORBIDDEN, 'open this page as http://localhost')
                return
            try:
                path = unquote(urlsplit(self.path).path)
            except ValueError as error:  # such as `//[`
                self.answer(HTTPStatus.BAD_REQUEST, str(error))
                return
            try:
                if path == '/':
                    with lock:
                        html = page()
                    self.answer(HTTPStatus.OK, html, _HTML)
                elif path == '/now':
                    with lock:
                        done, html = now()
                    self.answer(HTTPStatus.OK, html, _HTML, done)
                else:
                    self.show(path.lstrip('/'))
            except (InputError, OSError) as error:
                self.answer(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))

        def show(self, name: str) -> None:
            found = inside(root, name)
            if found is None:
                self.answer(HTTPStatus.NOT_FOUND, f"no '{name}' in {root}")
            elif found.is_dir():
                self.answer(HTTPStatus.OK, _listing(found, root), _HTML)
            else:
                kind = _PICTURES.get(found.suffix.lower())
                self.answer(HTTPStatus.OK, read_tail(found, _MOST_BYTES), kind or _TEXT)

        def answer(self, code: HTTPStatus, body: str | bytes, kind: str = _TEXT, done: int | None = None) -> None:
            data = body.encode('utf-8', 'replace') if isinstance(body, str) else body
            self.send_response(code)
            headers = {'Content-Type': kind, 'Content-Length': str(len(data)), 'Cache-Control': 'no-store'}
            headers |= {'Content-Security-Policy': _POLICY, 'X-Content-Type-Options': 'nosniff'}
            for key, value in (headers | ({} if done is None else {'X-Done': str(done)})).items():
                self.send_header(key, value)
            with contextlib.suppress(ConnectionError):  # the browser has gone, as when its page is closed
                self.end_headers()
                self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing of each request."""

    try:
        found = ThreadingHTTPServer((HOST, port), Answers)
    except OSError as error:
        raise InputError(f'--port {port}: {error.strerror}; give another one, 0 for any that is free') from error
    found.daemon_threads = True
    return found


def inside(root: Path, name: str) -> Path | None:
    """Return a file or folder of `root` by its relative path; None if there is none, or it lies elsewhere by a link."""
    try:
        found = (root / name).resolve()
        there = found.is_relative_to(root.resolve()) and (found.is_file() or found.is_dir())
    except (OSError, ValueError):  # a name too long, or with a zero byte
        return None
    return found if there else None


def _listing(folder: Path, root: Path) -> str:
    here = folder.relative_to(root.resolve()).as_posix()
    names = sorted(one.name + ('/' if one.is_dir() else '') for one in folder.iterdir())
    links = ''.join(f'<li><a href="{quote(name)}">{escape(name)}</a></li>' for name in names)
    title = escape('' if here == '.' else here)
    base = f'/{quote(here)}/' if here != '.' else '/'
    head = f'<!doctype html><meta charset="utf-8"><base href="{base}"><title>{title}</title>'
    return f'{head}<h1>{title}</h1><ul>{links}</ul>'
