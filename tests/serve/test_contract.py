"""Schemathesis asks whatever the OpenAPI document allows and forbids; the answers are as it says."""

import base64
from typing import Any

import schemathesis
from hypothesis import settings
from hypothesis import strategies as st
from schemathesis import Case
from schemathesis.specs.openapi.schemas import OpenApiSchema

from catdog_pl.models.basic import Basic
from catdog_pl.prediction.predictor import open_predictor
from catdog_pl.serve.app import Settings, create_app
from tests.serve.clients import GOOD, TOKEN, Rude

# What is allowed is any bytes and any address; only a picture is answered.
schemathesis.openapi.format("binary", st.just(GOOD))
schemathesis.openapi.format("uri", st.just(f"data:image/png;base64,{base64.b64encode(GOOD).decode()}"))
schemathesis.serializer.alias("image/*", "application/octet-stream")


def document(limits: Settings) -> OpenApiSchema:
    return schemathesis.openapi.from_dict(
        create_app(open_predictor(Basic(image_size=32)), "best.ckpt", limits).openapi()
    )


@document(Settings()).parametrize()
@settings(max_examples=60, deadline=None, derandomize=True)
def test_the_api_keeps_its_contract(case: Case[Any], served: Rude) -> None:
    case.call_and_validate(base_url=served.live.url)


@document(Settings(token=TOKEN)).parametrize()
@settings(max_examples=10, deadline=None, derandomize=True)
def test_the_api_keeps_its_contract_with_a_token(case: Case[Any], closed: Rude) -> None:
    case.call_and_validate(base_url=closed.live.url, headers={"Authorization": f"Bearer {TOKEN}"})


def test_every_address_is_in_the_document() -> None:
    paths = create_app(open_predictor(Basic(image_size=32)), "best.ckpt").openapi()["paths"]
    assert sorted(paths) == ["/healthz", "/metrics", "/readyz", "/v1/explain", "/v1/model", "/v1/predict"]
