"""Faults in the calls to AWS of the functions of the tests' local cloud. No fault happens until a test asks for it.

Python imports a module of this name when it starts, and the tests' local cloud has it on its path. So the functions
contain no code for tests. Files in a folder beside the functions' temporary files say which faults happen:

- `failures.json` `{rate, lasting}`: the share `rate` of all calls fails. Such a call is throttled, broken (the service
  answers with an error), lost (it does not arrive), or unanswered (it is executed, and the answer is lost). Of these
  calls, the share `lasting` fails at each try of the SDK. The others fail at one try.
- `<name>.fault` `{function, operation, texts, when, act, delay}`: a fault at a call of `operation` whose text contains
  all of `texts`. Before the call is sent or after it is answered (`when`), the process dies (`kill`), at once or after
  `delay` seconds, or it hangs while the file `<name>.taken` exists (`hang`). The process that renames the file to
  `<name>.taken` takes the fault, so it happens once. With the act `record`, every such call is logged and sent.

The file `log` has a line of JSON for each fault and for each recorded call.
"""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

FUNCTION = os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "")
FOLDER = Path(os.environ.get("TMPDIR", "/nowhere")) / "faults"
HANG_SECONDS = 280
SEND_SECONDS = 30
KINDS = ("throttled", "broken", "lost", "unanswered")


def before_send(request: Any, event_name: str, **_: Any) -> Any:
    """Handle botocore's event `before-send`. Return the answer to the call, or None to let botocore send it."""
    if not FOLDER.is_dir():
        return None
    operation = event_name.rpartition(".")[2]
    return _take_fault(request, operation) or _fail_at_random(request, operation)


# Faults at one call


def _take_fault(request: Any, operation: str) -> Any:
    for path in FOLDER.glob("*.fault"):
        try:
            fault = json.loads(path.read_bytes())
        except (FileNotFoundError, ValueError):
            continue  # another process took it, or it is not written completely
        if fault["operation"] != operation or not FUNCTION.endswith(fault["function"]):
            continue
        call = _describe(request)
        if not all(text in call for text in fault["texts"]):
            continue
        if fault["act"] == "record":
            _log(name=path.stem, text=call)
        elif _take(path):
            return _act(fault, path.stem, request)
    return None


def _describe(request: Any) -> str:
    """Return the text of a call: its URL and its body."""
    body = request.body if isinstance(request.body, bytes | str) else b""
    return f"{request.url} {body.decode(errors='replace') if isinstance(body, bytes) else body}"


def _take(path: Path) -> bool:
    """Return whether this process takes the fault. Renaming is atomic, so only one process does."""
    try:
        path.rename(path.with_suffix(".taken"))
    except FileNotFoundError:
        return False
    return True


def _act(fault: dict[str, Any], name: str, request: Any) -> Any:
    answer = _send(request) if fault["when"] == "after" else None
    _log(name=name, act=fault["act"])
    if fault["act"] == "kill" and fault["delay"]:
        threading.Timer(fault["delay"], _die).start()
        return answer
    if fault["act"] == "kill":
        _die()
    until = time.monotonic() + HANG_SECONDS
    while (FOLDER / f"{name}.taken").exists() and time.monotonic() < until:
        time.sleep(0.1)
    answer = answer or _send(request)
    _log(name=name, act="continue", status=answer.status_code)
    return answer


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


# Failures of many calls


def _fail_at_random(request: Any, operation: str) -> Any:
    try:
        failures = json.loads((FOLDER / "failures.json").read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    kind = _choose_kind(request, failures)
    if kind is None:
        return None
    _log(operation=operation, kind=kind)
    if kind == "throttled":
        return _make_error(request, 400, "ThrottlingException", "SlowDown")
    if kind == "broken":
        return _make_error(request, 500, "InternalServerError", "InternalError")
    if kind == "unanswered":
        _send(request)
    from botocore.exceptions import ReadTimeoutError

    raise ReadTimeoutError(endpoint_url=request.url, error=kind)


def _choose_kind(request: Any, failures: dict[str, Any]) -> str | None:
    """Return how this try of a call fails, or None if it does not."""
    # All tries of a call have the same id, which seeds the decision about the whole call.
    call = random.Random(request.headers.get("amz-sdk-invocation-id"))
    if call.random() < failures["rate"] * failures["lasting"]:
        return call.choice(KINDS)
    return random.choice(KINDS) if random.random() < failures["rate"] * (1 - failures["lasting"]) else None


def _make_error(request: Any, status: int, code: str, code_in_s3: str) -> Any:
    """Return an error response in the protocol of the called service."""
    from botocore.awsrequest import AWSResponse

    headers = {"x-amzn-errortype": code, "content-type": "application/x-amz-json-1.0"}
    body = json.dumps({"__type": f"x#{code}", "message": "made up"})
    if "x-amz-target" not in {name.lower() for name in request.headers}:
        status, headers = max(status, 503), {"content-type": "application/xml"}
        body = f"<Error><Code>{code_in_s3}</Code><Message>made up</Message></Error>"
    # The stubs name the type that botocore itself passes, but any mapping will do.
    return AWSResponse(request.url, status, headers, _RawBody(body.encode()))  # type: ignore[arg-type]


class _RawBody(BytesIO):
    """A body with the method of urllib3's responses that botocore reads."""

    def stream(self, *_: Any, **__: Any) -> Iterator[bytes]:
        yield self.read()


# Both


def _send(request: Any) -> Any:
    from botocore.httpsession import URLLib3Session

    return URLLib3Session(timeout=SEND_SECONDS).send(request)


def _log(**fields: Any) -> None:
    line = json.dumps({"pid": os.getpid(), "function": FUNCTION, "time": time.time(), **fields}) + "\n"
    try:
        descriptor = os.open(FOLDER / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    except FileNotFoundError:
        return  # the tests have ended
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


if FUNCTION:
    import botocore.handlers

    botocore.handlers.BUILTIN_HANDLERS.append(("before-send", before_send))
