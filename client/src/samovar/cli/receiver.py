"""`samovar listen`: a webhook receiver on this machine."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import click

from samovar import webhooks
from samovar.cli.exits import say
from samovar.cli.shows import plain
from samovar.errors import WebhookInvalid
from samovar.models import WebhookEvent

BODY_LIMIT = 64_000  # bytes; an event has less than 20 kB
PATIENCE_SECONDS = 10


class Receiver(ThreadingHTTPServer):
    """Listens on 127.0.0.1; answers 204 to what is signed, and prints it."""

    daemon_threads = True

    def __init__(self, secret: str, *, port: int, count: int | None, as_json: bool) -> None:
        """Ends after `count` events, if that is given."""
        super().__init__(("127.0.0.1", port), _Handler)
        self.secret = secret
        self._left = count
        self._as_json = as_json
        self._lock = threading.Lock()

    def received(self, event: WebhookEvent) -> None:
        """Print an event; the last one ends the receiver."""
        with self._lock:
            if self._left == 0:
                return
            line = f"{event.timestamp:%H:%M:%S}  {event.type}  {event.data.id}  {event.id}"
            click.echo(json.dumps(plain(event), ensure_ascii=False) if self._as_json else line)
            if self._left:
                self._left -= 1
        if self._left == 0:
            threading.Thread(target=self.shutdown, daemon=True).start()


class _Handler(BaseHTTPRequestHandler):
    server: Receiver
    timeout = PATIENCE_SECONDS

    def do_POST(self) -> None:
        length = self.headers.get("content-length", "")
        if not length.isdecimal() or int(length) > BODY_LIMIT:
            return self._answer(413 if length.isdecimal() else 411)
        body = self.rfile.read(int(length))
        try:
            event = webhooks.verify(dict(self.headers), body, self.server.secret)
        except WebhookInvalid as error:
            say(f"Refused: {error}")
            return self._answer(401)
        self._answer(204)
        self.server.received(event)
        return None

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's name)
        """Nothing: what matters is printed."""


def listen(secret: str, *, port: int, count: int | None, as_json: bool) -> None:
    """Receive until `count` events have come, or Ctrl-C.

    Raises:
        ValueError: when the secret is none.
        OSError: when the port is taken.
    """
    webhooks.check_secret(secret)
    with Receiver(secret, port=port, count=count, as_json=as_json) as server:
        say(f"Listening on http://127.0.0.1:{server.server_port}/ (Ctrl-C ends it)")
        server.serve_forever(poll_interval=0.2)
