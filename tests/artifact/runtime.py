"""AWS Lambda's Python runtime on this machine: its runtime client, and a runtime API that serves one event."""

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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from uv import find_uv_bin

API = "/2018-06-01/runtime"
ANSWER_SECONDS = 60


@dataclass(frozen=True)
class Answer:
    """The answer of a function to the runtime API. `kind` is `response`, `error` or `init/error`."""

    kind: str
    body: Any


class RuntimeApi(ThreadingHTTPServer):
    """The API that the runtime client of a Lambda function polls. It serves one event and keeps the answers."""

    def __init__(self, event: dict[str, Any]) -> None:
        """Serve `event`."""
        super().__init__(("127.0.0.1", 0), _Handler)
        self.event = event
        self.answers: queue.Queue[Answer] = queue.Queue()
        self.has_served = False
        self.closed = threading.Event()

    @contextmanager
    def serve(self) -> Iterator[str]:
        """Serve until the block ends, and provide the address."""
        thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"127.0.0.1:{self.server_port}"
        finally:
            self.closed.set()
            self.shutdown()
            thread.join()
            self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: RuntimeApi

    def do_GET(self) -> None:
        if self.server.has_served:
            self.server.closed.wait()  # on AWS Lambda, too, an idle environment waits here, frozen
            self.close_connection = True
            return
        self.server.has_served = True
        deadline = str(int(time.time() * 1000) + 60_000)
        self._send(200, json.dumps(self.server.event).encode(), {"Lambda-Runtime-Deadline-Ms": deadline})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        kind = self.path.removeprefix(f"{API}/").removeprefix("invocation/1/")
        self.server.answers.put(Answer(kind, body))
        self._send(202, b'{"status": "OK"}', {})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        common = {
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "Lambda-Runtime-Aws-Request-Id": "1",
            "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:eu-west-2:123456789012:function:samovar",
            "Lambda-Runtime-Trace-Id": "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=0",
        }
        for name, value in {**common, **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Log nothing."""


@dataclass(frozen=True)
class UnpackedFunction:
    """A function as Lambda unpacks it: its zip in the folder `task`, and its layer in the folder `layer`."""

    name: str
    task: Path
    layer: Path

    def environment(self, variables: dict[str, str]) -> dict[str, str]:
        """Return the environment of the function's process: its settings, and the variables that Lambda sets."""
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
            "OMP_NUM_THREADS": "1",
            "POWERTOOLS_SERVICE_NAME": self.name,
            "POWERTOOLS_LOG_LEVEL": "INFO",
            **variables,
        }


Unpack = Callable[[str], UnpackedFunction]  # unpacks the function of the given name
Variables = dict[str, dict[str, str]]  # the environment variables of each function by its name


def unzip(file: Path, folder: Path) -> Path:
    """Unpack a zip into `folder`, and return the folder."""
    with zipfile.ZipFile(file) as archive:
        archive.extractall(folder)
    return folder


def invoke(python: Path, function: UnpackedFunction, event: dict[str, Any], variables: dict[str, str]) -> Any:
    """Start the function in a new process, and return its answer to one event.

    Raises:
        AssertionError: If it does not answer, or raises an error. The message holds its output.
    """
    api = RuntimeApi(event)
    handler = f"functions.{function.name}.handler.handler"
    with api.serve() as address, tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            [python, "-m", "awslambdaric", handler],
            cwd=function.task,
            env=function.environment({**variables, "AWS_LAMBDA_RUNTIME_API": address}),
            stdout=log,
            stderr=log,
        )
        try:
            answer = _wait_for_answer(api, process)
        finally:
            process.kill()
            process.wait()
        log.seek(0)
        assert answer is not None, f"The function did not answer:\n{log.read()}"
        assert answer.kind == "response", f"{answer}\n{log.read()}"
    return answer.body


def _wait_for_answer(api: RuntimeApi, process: subprocess.Popen[bytes]) -> Answer | None:
    deadline = time.monotonic() + ANSWER_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            return api.answers.get(timeout=0.2)
        except queue.Empty:
            continue
    return None if api.answers.empty() else api.answers.get()


def make_environment(folder: Path, requirements: Path) -> Path:
    """Return the Python of a virtual environment that holds only `requirements`. Make it again if they have changed."""
    source_digest = folder / "source-digest"
    digest = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()
    python = folder / "bin" / "python"
    if not source_digest.is_file() or source_digest.read_text() != digest:
        venv.create(folder, clear=True, with_pip=False)
        command = [find_uv_bin(), "pip", "install", "--quiet", "--compile-bytecode", "--require-hashes"]
        subprocess.run([*command, "--python", python, "-r", requirements], check=True)
        source_digest.write_text(digest)
    return python
