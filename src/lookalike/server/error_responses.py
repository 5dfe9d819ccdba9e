"""Errors -> HTTP status and one sentence, the same form whatever went wrong."""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from lookalike.errors import CollectionError, EncoderError, ImageError, IndexStoreError, LookalikeError
from lookalike.server.admission import BusyError
from lookalike.server.map_points import NoMapError, StaleMapError
from lookalike.server.originals import UnknownImageError
from lookalike.server.service import Service
from lookalike.server.upload_cache import ForgottenUploadError

#: What an image's outcome means over HTTP; any other is 422.
_STATUS = {"unsupported": 415, "bomb": 413, "too large": 413, "gone": 404, "changed": 409}


def status_of(error: LookalikeError) -> int:
    """Return the HTTP status for an error.

    Parameters
    ----------
    error : LookalikeError
        What happened.

    Returns
    -------
    int
        400 to 422 where the request is at fault, 503 where the server is.
    """
    match error:
        case BusyError():
            return 429
        case UnknownImageError() | ForgottenUploadError() | NoMapError():
            return 404
        case StaleMapError():
            return 409
        case ImageError():
            return _STATUS.get(error.outcome, 422)
        case IndexStoreError() | CollectionError():  # an index that is away, images or decoders that are
            return 503
        case EncoderError():
            return 422
    return 400


def message_of(error: Mapping[str, Any]) -> str:
    """Say what pydantic found wrong, and where; in other words than its own where those leave open what to do.

    Parameters
    ----------
    error : mapping
        One of ``errors()`` of its exceptions; its ``loc`` begins with the part of the request.

    Returns
    -------
    str

    Examples
    --------
    >>> message_of({"loc": ("body", "kk"), "type": "extra_forbidden", "msg": "Extra inputs are not permitted"})
    'kk: unknown key; /api/openapi.json lists the keys of a request'
    """
    place = ".".join(str(part) for part in error["loc"][1:]) or "the body"
    words = {"extra_forbidden": "unknown key; /api/openapi.json lists the keys of a request", "missing": "missing"}
    return f"{place}: {words.get(error['type'], error['msg'])}"


#: Raised by a request whose values have the right types and still can't be worked with.
_UNUSABLE = (OverflowError, RecursionError, UnicodeError)
#: What the operating system refuses, in words.
_SYSTEM_ERRORS = {
    errno.ENOSPC: "a disk of the server is full; free space there",
    errno.EDQUOT: "the server may not write more to its disk; free space there",
    errno.EROFS: "a disk of the server can't be written to",
    errno.EMFILE: "the server has too many files open; try again later",
    errno.ENFILE: "the server's machine has too many files open; try again later",
    errno.ENOMEM: "the server has too little memory now; try again later",
}


def add_error_handlers(app: FastAPI, service: Service) -> None:
    """Answer every error with its status and one sentence.

    Parameters
    ----------
    app : FastAPI
        The application.
    service : Service
        Takes this machine's paths out of sentences that another machine reads.
    """

    async def respond(request: Request, error: Exception) -> Response:
        status, message, headers = _answer_to(error)
        body = json.dumps({"error": service.public_text(request, message)})
        return Response(body, status, headers, media_type="application/json")

    for kind in (LookalikeError, HTTPException, RequestValidationError, *_UNUSABLE, OSError, MemoryError, Exception):
        app.add_exception_handler(kind, respond)


def _answer_to(error: Exception) -> tuple[int, str, Mapping[str, str] | None]:
    """Return the status, the sentence and the headers that answer an error."""
    match error:
        case LookalikeError():
            retry = {"retry-after": str(error.seconds)} if isinstance(error, BusyError) else None
            return status_of(error), str(error), retry
        case HTTPException():
            return error.status_code, str(error.detail), error.headers
        case RequestValidationError():
            return 422, "; ".join(message_of(item) for item in error.errors()[:3]), None
        case OverflowError() | RecursionError() | UnicodeError():
            return 400, "something in the request is too large a number, nested too deeply, or no text; change it", None
        case OSError() | MemoryError():
            number = errno.ENOMEM if isinstance(error, MemoryError) else error.errno or 0
            reason = getattr(error, "strerror", None) or error
            message = _SYSTEM_ERRORS.get(number, f"the server's operating system reports: {reason}")
            return 503, message, {"retry-after": "10"}
    return 500, "unexpected error: a bug in lookalike; the server's standard error has the traceback", None
