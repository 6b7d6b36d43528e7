"""A request becomes pictures: the fields ``file`` of a form, the body itself, or URLs in JSON."""

from functools import partial
from typing import NamedTuple

from fastapi import Request
from pydantic import ValidationError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from catdog_pl.errors import one_line
from catdog_pl.io.http import fetch, mask
from catdog_pl.io.source import ImageSource, WebOptions
from catdog_pl.serve.problems import ProblemError
from catdog_pl.serve.schemas import MAX_PICTURES, Urls

MAX_NAME = 200
"""Characters of a file's name that are given back."""

MAX_JSON = 2**20
"""Bytes of JSON, which is read while all others wait; as many URLs as are allowed are half of it."""


class Pictures(NamedTuple):
    """The pictures of one request, and whether they are to be fetched."""

    sources: list[ImageSource]
    are_remote: bool = False


async def read_pictures(request: Request, web: WebOptions | None, max_bytes: int) -> Pictures:
    """Read the body of a request.

    Args:
        request: its body has passed `BodyLimits` already.
        web: how URLs are fetched; None refuses them.
        max_bytes: that the body may have, which is kept in memory.

    Raises:
        ProblemError: the body holds no picture, too many, or is of another kind.
    """
    encoding = request.headers.get("Content-Encoding", "identity")
    if encoding.lower() != "identity":
        raise ProblemError(415, f"Content-Encoding {encoding} is not supported; send the body as it is")
    kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return Pictures(await _read_form(request, max_bytes))
    if kind == "application/json":
        return Pictures(_read_urls(await request.body(), web), are_remote=True)
    if kind.startswith("image/") or kind == "application/octet-stream":
        content = await request.body()
        return Pictures([ImageSource("picture", lambda: content)])
    raise ProblemError(
        415,
        f"Content-Type {one_line(kind) or 'is missing'}: valid are multipart/form-data with the field file, "
        "image/* with the picture as the body, and application/json with a url",
    )


class _FormParser(MultiPartParser):
    """Starlette's, which also tells whether the form is complete; it leaves out a last part without end."""

    is_complete = False

    def on_end(self) -> None:
        self.is_complete = True


async def _read_form(request: Request, max_bytes: int) -> list[ImageSource]:
    parser = _FormParser(request.headers, request.stream(), max_files=MAX_PICTURES, max_fields=MAX_PICTURES)
    parser.spool_max_size = max_bytes + 1  # in memory: pictures are nobody's business, nor the disk's
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise ProblemError(400, f"the form cannot be read: {error.message}") from error
    except UnicodeError as error:  # of charsets such as "undefined"
        raise ProblemError(400, "the form cannot be read: its charset; valid is UTF-8") from error
    if not parser.is_complete:
        raise ProblemError(400, "the form cannot be read: it ends before its last boundary")
    files = [file for file in form.getlist("file") if isinstance(file, UploadFile)]
    sources = [
        ImageSource(one_line(file.filename or "picture")[:MAX_NAME], partial(bytes, await file.read()))
        for file in files
    ]
    await form.close()
    if not sources:
        raise ProblemError(422, "the form has no field file with a picture")
    return sources


def _read_urls(body: bytes, web: WebOptions | None) -> list[ImageSource]:
    if web is None:
        raise ProblemError(403, "this server fetches no URLs; send the picture itself")
    if len(body) > MAX_JSON:
        raise ProblemError(413, f"the JSON is larger than {MAX_JSON:,} bytes, the limit")
    try:
        given = Urls.model_validate_json(body).url
    except ValidationError as error:
        valid = f'{{"url": "https://..."}}, or a list of up to {MAX_PICTURES} URLs'
        if error.error_count() > 2 * MAX_PICTURES:  # to write down a hundred thousand takes half a second
            raise ProblemError(422, f"{error.error_count():,} errors; valid is {valid}") from error
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"][:1])) or "the body"
        raise ProblemError(422, f"{place}: {first['msg']}; valid is {valid}") from error
    urls = [given] if isinstance(given, str) else given
    return [ImageSource(mask(url), partial(fetch, url, web)) for url in urls]
