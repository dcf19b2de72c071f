"""AWS Lambda's Python runtime on this machine: its own client, a runtime API for one event, nothing else installed."""

from __future__ import annotations

import hashlib
import json
import queue
import subprocess
import sys
import tempfile
import threading
import time
import venv
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from uv import find_uv_bin

API = "/2018-06-01/runtime"
ANSWER_SECONDS = 60


@dataclass(frozen=True)
class Answer:
    """What a function said to the runtime API: `kind` is response, error or init/error."""

    kind: str
    body: Any


@dataclass
class RuntimeApi:
    """The API that a Lambda function's runtime client polls; hands out one event and keeps the answer."""

    event: dict[str, Any]
    answers: queue.Queue[Answer] = field(default_factory=queue.Queue)
    served: threading.Event = field(default_factory=threading.Event)
    closed: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def listening(self) -> Iterator[str]:
        """Serves until the block ends; gives the address."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            self.closed.set()
            server.shutdown()
            thread.join()
            server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                if api.served.is_set():
                    api.closed.wait()  # as on AWS Lambda, an environment without work waits here, frozen
                    self.close_connection = True
                    return
                api.served.set()
                deadline = str(int(time.time() * 1000) + 60_000)
                self._send(200, json.dumps(api.event).encode(), {"Lambda-Runtime-Deadline-Ms": deadline})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                api.answers.put(Answer(self.path.removeprefix(f"{API}/").removeprefix("invocation/1/"), body))
                self._send(202, b'{"status": "OK"}', {})

            def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
                self.send_response(status)
                arn = "arn:aws:lambda:eu-west-2:123456789012:function:samovar"
                common = {
                    "Content-Type": "application/json",
                    "Content-Length": str(len(body)),
                    "Lambda-Runtime-Aws-Request-Id": "1",
                    "Lambda-Runtime-Invoked-Function-Arn": arn,
                    "Lambda-Runtime-Trace-Id": "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=0",
                }
                for name, value in {**common, **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                """Says nothing."""

        return Handler


@dataclass(frozen=True)
class Unpacked:
    """A function as Lambda lays it out: its zip in one folder, its layer in another."""

    name: str
    task: Path
    layer: Path

    def environment(self, variables: dict[str, str]) -> dict[str, str]:
        """All the variables that the process gets."""
        return {
            "PATH": "/usr/bin:/bin",
            "LAMBDA_TASK_ROOT": str(self.task),
            "PYTHONPATH": f"{self.task}:{self.layer / 'python'}",
            "AWS_LAMBDA_FUNCTION_NAME": f"samovar-{self.name}",
            "AWS_LAMBDA_FUNCTION_VERSION": "1",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1769",
            "AWS_REGION": "eu-west-2",
            "AWS_DEFAULT_REGION": "eu-west-2",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "POWERTOOLS_SERVICE_NAME": self.name,
            "POWERTOOLS_LOG_LEVEL": "INFO",
            **variables,
        }


def unzip(file: Path, folder: Path) -> Path:
    with zipfile.ZipFile(file) as archive:
        archive.extractall(folder)
    return folder


def invoke(python: Path, function: Unpacked, event: dict[str, Any], variables: dict[str, str]) -> Any:
    """Boots the function in a fresh process and gives its answer to one event.

    Raises:
        AssertionError: it did not answer; the message has what it printed.
    """
    api = RuntimeApi(event)
    handler = f"functions.{function.name}.handler.handler"
    with api.listening() as address, tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            [python, "-m", "awslambdaric", handler],
            cwd=function.task,
            env=function.environment({**variables, "AWS_LAMBDA_RUNTIME_API": address}),
            stdout=log,
            stderr=log,
        )
        try:
            answer = _answer(api, process)
        finally:
            process.kill()
            process.wait()
        log.seek(0)
        assert answer is not None, f"no answer:\n{log.read()}"
        assert answer.kind == "response", f"{answer}\n{log.read()}"
    return answer.body


def _answer(api: RuntimeApi, process: subprocess.Popen[bytes]) -> Answer | None:
    deadline = time.monotonic() + ANSWER_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            return api.answers.get(timeout=0.2)
        except queue.Empty:
            continue
    return None if api.answers.empty() else api.answers.get()


def make_environment(folder: Path, requirements: Path) -> Path:
    """The Python of a virtual environment that holds `requirements` alone; made again when they change."""
    made_from = folder / "made-from"
    key = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()
    python = folder / "bin" / "python"
    if not made_from.is_file() or made_from.read_text() != key:
        venv.create(folder, clear=True, with_pip=False)
        command = [find_uv_bin(), "pip", "install", "--quiet", "--compile-bytecode", "--require-hashes"]
        subprocess.run([*command, "--python", python, "-r", requirements], check=True)
        made_from.write_text(key)
    return python
