"""Errors over HTTP: problem documents (RFC 9457), with the sentences that the commands print."""

from http import HTTPStatus
from http.client import responses
from typing import TYPE_CHECKING

from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from catdog_pl.errors import CatDogError, ImageFault, masked, one_line

if TYPE_CHECKING:
    from fastapi import Request

    from catdog_pl.prediction.predictor import Prediction

MEDIA_TYPE = "application/problem+json"

STATUS: dict[ImageFault, HTTPStatus] = {
    "too large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "not an image": HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
}
"""Of a picture that cannot be used; all other faults are 422."""


class ProblemError(HTTPException):
    """A request that gets no answer.

    Args:
        status: of the answer.
        detail: one line, as the commands print it.
        fault: of the picture, where it is at fault.
        retry_after: seconds after which the same request may succeed.
    """

    def __init__(
        self, status: int, detail: str, fault: ImageFault | None = None, retry_after: int | None = None
    ) -> None:
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        super().__init__(status, masked(one_line(detail)), headers)
        self.fault = fault


def refusal(prediction: "Prediction") -> ProblemError:
    """Return the problem of the only picture of a request; a model that answers NaN is the server's fault."""
    fault = prediction.fault
    status = STATUS.get(fault, HTTPStatus.UNPROCESSABLE_ENTITY) if fault else HTTPStatus.INTERNAL_SERVER_ERROR
    return ProblemError(status, f"{prediction.source}: {prediction.error}", fault)


def document(_: "Request | None", error: Exception) -> JSONResponse:
    """Return the answer to a request that raised an error; unforeseen ones stay in the server's log."""
    if isinstance(error, CatDogError):
        error = ProblemError(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))
    elif isinstance(error, ClientDisconnect):  # nobody reads this; it is counted, and not logged
        error = ProblemError(HTTPStatus.BAD_REQUEST, "the client closed the connection before its body's end")
    elif not isinstance(error, HTTPException):
        error = ProblemError(HTTPStatus.INTERNAL_SERVER_ERROR, "the server failed; its log says where")
    status = error.status_code
    content = {"type": "about:blank", "title": responses[status], "status": status, "detail": error.detail}
    if isinstance(error, ProblemError) and error.fault:
        content["fault"] = error.fault
    return JSONResponse(content, status, error.headers, MEDIA_TYPE)
