"""The webhook receiver of `samovar listen`."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import click

from samovar import webhooks
from samovar.cli.exit_codes import print_to_stderr
from samovar.cli.render import to_json
from samovar.errors import WebhookInvalid
from samovar.models import WebhookEvent

BODY_LIMIT = 64_000  # bytes; an event has less than 20 kB
REQUEST_TIMEOUT_SECONDS = 10


class Receiver(ThreadingHTTPServer):
    """An HTTP server on 127.0.0.1 that verifies webhooks, answers 204 and prints their events."""

    daemon_threads = True

    def __init__(self, secret: str, *, port: int, count: int | None, as_json: bool) -> None:
        """Open the port. The server stops after `count` events, or never if `count` is None."""
        super().__init__(("127.0.0.1", port), _Handler)
        self.secret = secret
        self._remaining = count
        self._as_json = as_json
        self._lock = threading.Lock()

    def handle_event(self, event: WebhookEvent) -> None:
        """Print an event, and stop the server after the last one."""
        with self._lock:
            if self._remaining == 0:
                return
            line = f"{event.timestamp:%H:%M:%S}  {event.type}  {event.data.id}  {event.id}"
            click.echo(json.dumps(to_json(event), ensure_ascii=False) if self._as_json else line)
            if self._remaining:
                self._remaining -= 1
        if self._remaining == 0:
            # `shutdown` blocks until the server's loop has ended, so it runs in a thread of its own.
            threading.Thread(target=self.shutdown, daemon=True).start()


class _Handler(BaseHTTPRequestHandler):
    server: Receiver
    timeout = REQUEST_TIMEOUT_SECONDS

    def do_POST(self) -> None:
        length = self.headers.get("content-length", "")
        if not length.isdecimal():
            return self._answer(411)
        if int(length) > BODY_LIMIT:
            return self._answer(413)
        body = self.rfile.read(int(length))
        try:
            event = webhooks.verify(dict(self.headers), body, self.server.secret)
        except WebhookInvalid as error:
            print_to_stderr(f"Webhook refused: {error}")
            return self._answer(401)
        self._answer(204)
        self.server.handle_event(event)
        return None

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's name)
        """Log nothing, because `Receiver` prints the events itself."""


def listen(secret: str, *, port: int, count: int | None, as_json: bool) -> None:
    """Receive webhooks until `count` events have arrived or Ctrl-C is pressed.

    Raises:
        ValueError: If `secret` is not a `whsec_` secret.
        OSError: If the port is in use.
    """
    webhooks.check_secret(secret)
    with Receiver(secret, port=port, count=count, as_json=as_json) as server:
        print_to_stderr(f"Listening on http://127.0.0.1:{server.server_port}/ (stop with Ctrl-C)")
        server.serve_forever(poll_interval=0.2)
