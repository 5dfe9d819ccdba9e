"""Errors -> HTTP status and one sentence, the same form whatever went wrong."""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping
from typing import Any, cast

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


#: A request whose values have the right types and still can't be worked with.
_UNUSABLE = "something in the request is too large a number, nested too deeply, or no text; change it"
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

    def respond(request: Request, status: int, message: str, headers: Any = None) -> Response:
        body = json.dumps({"error": service.public_text(request, message)})
        return Response(body, status, headers, media_type="application/json")

    async def own_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, LookalikeError)
        retry = {"retry-after": str(error.seconds)} if isinstance(error, BusyError) else None
        return respond(request, status_of(error), str(error), retry)

    async def http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return respond(request, error.status_code, str(error.detail), error.headers)

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return respond(request, 422, "; ".join(message_of(item) for item in error.errors()[:3]))

    async def unusable(request: Request, _: Exception) -> Response:
        return respond(request, 400, _UNUSABLE)

    async def system_error(request: Request, error: Exception) -> Response:
        number = errno.ENOMEM if isinstance(error, MemoryError) else cast(OSError, error).errno or 0
        message = _SYSTEM_ERRORS.get(
            number, f"the server's operating system reports: {getattr(error, 'strerror', None) or error}"
        )
        return respond(request, 503, message, {"retry-after": "10"})

    async def unexpected(request: Request, __: Exception) -> Response:
        return respond(
            request, 500, "unexpected error: a bug in lookalike; the server's standard error has the traceback"
        )

    app.add_exception_handler(LookalikeError, own_error)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(RequestValidationError, invalid)
    for kind in (OverflowError, RecursionError, UnicodeError):
        app.add_exception_handler(kind, unusable)
    app.add_exception_handler(OSError, system_error)
    app.add_exception_handler(MemoryError, system_error)
    app.add_exception_handler(Exception, unexpected)
