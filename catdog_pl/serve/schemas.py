"""What the API takes and gives, as its OpenAPI document tells."""

from typing import Annotated, Any

from pydantic import BaseModel, Field

from catdog_pl.errors import ImageFault
from catdog_pl.serve.problems import MEDIA_TYPE

MAX_PICTURES = 32
"""Of one request."""


Url = Annotated[str, Field(max_length=2**14, json_schema_extra={"format": "uri"})]


class Urls(BaseModel, extra="forbid"):
    """Pictures by their URLs."""

    url: Url | Annotated[list[Url], Field(min_length=1, max_length=MAX_PICTURES)]


class PictureAnswer(BaseModel, from_attributes=True):
    """The answer for one picture; of several, some may have an error instead."""

    source: str = Field(description="the name of the file, or the URL with its secrets hidden")
    probability: float | None = Field(description="of the second class, 0 to 1; above 0.5 it is the label")
    label: str | None = Field(description="the class")
    error: str | None = Field(description="why there is no answer, in one line")
    fault: ImageFault | None = Field(description="the same in one of a few words")


class Answers(BaseModel):
    """One answer for each picture, in order."""

    predictions: list[PictureAnswer]


class Problem(BaseModel):
    """Why a request has no answer (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str = Field(description="one line: the thing, what is wrong with it, what would be valid")
    fault: ImageFault | None = Field(None, description="of the picture, in one of a few words")


class LoadedModel(BaseModel):
    """What answers, and what it takes."""

    file: str
    model: str | None = Field(description="the network; null where the file does not tell, as ONNX")
    class_names: list[str] = Field(description="the first and the second class", min_length=2, max_length=2)
    threshold: float = Field(description="a probability above it is the second class")
    image_size: int = Field(description="pixels of a side to which pictures are resized")
    explains: bool = Field(description="whether /v1/explain answers")
    urls: bool = Field(description="whether pictures may be given by URL")
    max_bytes: int = Field(description="of the body of a request")
    max_pictures: int = Field(description="of a request")
    version: str = Field(description="of catdog_pl")


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return what OpenAPI says of answers with these statuses."""
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        status: {"description": Problem.__doc__, "content": {MEDIA_TYPE: {"schema": schema}}}
        for status in statuses
    }


BINARY = {"type": "string", "format": "binary"}


def picture_body(count: int) -> dict[str, Any]:
    """Return what OpenAPI says of a body of up to so many pictures, which `intake` reads itself."""
    files = {"type": "array", "items": BINARY, "minItems": 1, "maxItems": count}
    urls = Urls.model_json_schema()
    urls["properties"]["url"]["anyOf"][1]["maxItems"] = count
    kinds = {
        "multipart/form-data": {"type": "object", "properties": {"file": files}, "required": ["file"]},
        "image/*": BINARY,
        "application/octet-stream": BINARY,
        "application/json": urls,
    }
    content = {kind: {"schema": schema} for kind, schema in kinds.items()}
    return {"requestBody": {"required": True, "content": content}}
