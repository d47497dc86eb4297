"""Logs as one JSON object a line, on standard error. What users send is in none of them, unless asked for."""

import datetime
import json
import logging
import sys
import traceback
from typing import Any

NAME = "pva_sae.service"


class JsonLines(logging.Formatter):
    """time, level, event, and the fields of the record. Of exceptions the place; their words only `with_code`."""

    def __init__(self, with_code: bool):
        super().__init__()
        self.with_code = with_code

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        entry: dict[str, Any] = {"time": moment.isoformat(timespec="milliseconds"), "level": record.levelname.lower()}
        entry |= {"event": record.getMessage(), **getattr(record, "fields", {})}
        if record.exc_info and record.exc_info[1] is not None:
            entry["exception"] = _described(record.exc_info[1], self.with_code)
        return json.dumps(entry, ensure_ascii=True, allow_nan=False, default=str)


def _described(error: BaseException, with_words: bool) -> dict[str, Any]:
    """A message of an exception can quote what it failed on, which is the user's."""
    frames = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]
    return {"type": type(error).__name__, "frames": frames[-12:]} | ({"message": str(error)} if with_words else {})


def new_service_log(with_code: bool = False) -> logging.Logger:
    """The service's log; uvicorn's errors go the same way."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(with_code))
    for name, level in ((NAME, logging.INFO), ("uvicorn", logging.WARNING), ("uvicorn.error", logging.WARNING)):
        log = logging.getLogger(name)
        log.setLevel(level)
        log.propagate = False
        log.handlers[:] = [handler] if name != "uvicorn.error" else []
    logging.getLogger("uvicorn.error").propagate = True
    logging.getLogger("uvicorn.access").disabled = True
    return logging.getLogger(NAME)
