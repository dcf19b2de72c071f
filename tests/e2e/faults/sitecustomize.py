"""What goes wrong under boto3 in the functions of the tests' local cloud; nothing, until a test asks for it.

Python imports a module of this name when it starts, and the tests' local cloud has it on its path: so faults come from
outside, without a line in the functions. What to do is said by files in a folder beside the functions' temporary files:

- `storm.json` `{rate, lasting}`: that share of all calls is throttled, broken, lost, or executed without an answer; and
  of the calls hit, the share `lasting` stays so through all of the SDK's repetitions.
- `<name>.mark` `{function, operation, has, when, act, delay}`: at the call of that operation whose text has all of
  `has`, before it is sent or after, the process dies, at once or `delay` seconds later (`kill`), or stands still while
  there is `<name>.taken` (`hang`); once, because whoever renames the mark has it. Calls with the act `note` are only
  written down, each time.

What was done is in `log`, one line each.
"""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from io import BytesIO
from pathlib import Path
from typing import Any

FUNCTION = os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "")
FOLDER = Path(os.environ.get("TMPDIR", "/nowhere")) / "faults"
HANG_SECONDS = 280
SEND_SECONDS = 30
KINDS = ("throttled", "broken", "lost", "unanswered")


def before_send(request: Any, event_name: str, **_: Any) -> Any:
    """Botocore's event of that name: an answer stands for the sending, None lets it happen."""
    if not FOLDER.is_dir():
        return None
    operation = event_name.rpartition(".")[2]
    return _at_mark(request, operation) or _in_storm(request, operation)


# Marks


def _at_mark(request: Any, operation: str) -> Any:
    for path in FOLDER.glob("*.mark"):
        try:
            mark = json.loads(path.read_bytes())
        except (FileNotFoundError, ValueError):
            continue  # taken by another, or not yet whole
        if mark["operation"] != operation or not FUNCTION.endswith(mark["function"]):
            continue
        text = _text(request)
        if not all(part in text for part in mark["has"]):
            continue
        if mark["act"] == "note":
            _log(name=path.stem, text=text)
        elif _take(path):
            return _act(mark, path.stem, request)
    return None


def _text(request: Any) -> str:
    body = request.body if isinstance(request.body, bytes | str) else b""
    return f"{request.url} {body.decode(errors='replace') if isinstance(body, bytes) else body}"


def _take(path: Path) -> bool:
    try:
        path.rename(path.with_suffix(".taken"))
    except FileNotFoundError:
        return False
    return True


def _act(mark: dict[str, Any], name: str, request: Any) -> Any:
    answer = _send(request) if mark["when"] == "after" else None
    _log(name=name, act=mark["act"])
    if mark["act"] == "kill" and mark["delay"]:
        threading.Timer(mark["delay"], _die).start()
        return answer
    if mark["act"] == "kill":
        _die()
    until = time.monotonic() + HANG_SECONDS
    while (FOLDER / f"{name}.taken").exists() and time.monotonic() < until:
        time.sleep(0.1)
    answer = answer or _send(request)
    _log(name=name, act="went on", status=answer.status_code)
    return answer


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


# The storm


def _in_storm(request: Any, operation: str) -> Any:
    try:
        storm = json.loads((FOLDER / "storm.json").read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    kind = _fate(request, storm)
    if kind is None:
        return None
    _log(operation=operation, kind=kind)
    if kind == "throttled":
        return _refusal(request, 400, "ThrottlingException", "SlowDown")
    if kind == "broken":
        return _refusal(request, 500, "InternalServerError", "InternalError")
    if kind == "unanswered":
        _send(request)
    from botocore.exceptions import ReadTimeoutError

    raise ReadTimeoutError(endpoint_url=request.url, error=kind)


def _fate(request: Any, storm: dict[str, Any]) -> str | None:
    """What becomes of this try of a call; the tries of one call share an id."""
    call = random.Random(request.headers.get("amz-sdk-invocation-id"))
    if call.random() < storm["rate"] * storm["lasting"]:
        return call.choice(KINDS)
    return random.choice(KINDS) if random.random() < storm["rate"] * (1 - storm["lasting"]) else None


def _refusal(request: Any, status: int, code: str, code_in_s3: str) -> Any:
    from botocore.awsrequest import AWSResponse

    headers = {"x-amzn-errortype": code, "content-type": "application/x-amz-json-1.0"}
    body = json.dumps({"__type": f"x#{code}", "message": "made up"})
    if "x-amz-target" not in {name.lower() for name in request.headers}:
        status, headers = max(status, 503), {"content-type": "application/xml"}
        body = f"<Error><Code>{code_in_s3}</Code><Message>made up</Message></Error>"
    return AWSResponse(request.url, status, headers, _Raw(body.encode()))


class _Raw(BytesIO):
    def stream(self, *_: Any, **__: Any) -> Any:
        yield self.read()


# Both


def _send(request: Any) -> Any:
    from botocore.httpsession import URLLib3Session

    return URLLib3Session(timeout=SEND_SECONDS).send(request)


def _log(**what: Any) -> None:
    line = json.dumps({"pid": os.getpid(), "function": FUNCTION, "time": time.time(), **what}) + "\n"
    try:
        descriptor = os.open(FOLDER / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    except FileNotFoundError:
        return  # the tests are over
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


if FUNCTION:
    import botocore.handlers

    botocore.handlers.BUILTIN_HANDLERS.append(("before-send", before_send))
