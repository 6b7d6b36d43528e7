"""The HTTP API and the page: each route reads a request, asks the predictor, and writes the answer."""

import asyncio
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import Annotated

import fastapi_offline
from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import FileResponse, PlainTextResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi.staticfiles import StaticFiles
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from catdog_pl import __version__
from catdog_pl.errors import CatDogError, UsageError
from catdog_pl.io.source import WebOptions
from catdog_pl.models.spec import THRESHOLD
from catdog_pl.prediction.predictor import ModelInput, Prediction, Predictor, explaining
from catdog_pl.serve.batching import Batcher
from catdog_pl.serve.intake import Pictures, read_pictures
from catdog_pl.serve.limits import BodyLimits
from catdog_pl.serve.metrics import CountedRequests, Metrics
from catdog_pl.serve.problems import ProblemError, document, refusal
from catdog_pl.serve.schemas import MAX_PICTURES, Answers, LoadedModel, picture_body, problems

STATIC = Path(str(files("catdog_pl"))) / "serve" / "static"
SWAGGER = Path(str(files(fastapi_offline))) / "static"

EXPLAINED_SIDE = 1024
"""The longest side, in pixels, of a picture that is given back with its explanation."""

BODIES = 8
"""So many bodies of the largest size may be in memory at a time."""

DESCRIPTION = """Cat or dog? Send a picture as the field `file` of a form, as the body itself, or by its URL
in JSON. Errors are problem documents (RFC 9457). Nothing that is sent is kept."""


@dataclass(frozen=True)
class Settings:
    """What a server allows.

    Attributes:
        capacity: pictures in work at a time, all requests together; more are refused (503).
        max_bytes: of the body of one request.
        seconds: for a body to arrive, for a download, and for the answer after them.
        web: how pictures are fetched from URLs; None fetches none.
        token: that requests to the API must bear; None lets everybody in.
        origins: whose pages may call the API from a browser.
    """

    capacity: int = 256
    max_bytes: int = 32 * 2**20
    seconds: float = 30.0
    web: WebOptions | None = WebOptions(public_only=True)  # noqa: RUF009  # immutable
    token: str | None = None
    origins: tuple[str, ...] = ()


class Service:
    """What the routes share: one model, its batches, and what is counted."""

    def __init__(self, predictor: Predictor, name: str, settings: Settings) -> None:
        network, spec = getattr(predictor.engine, "network", None), predictor.engine.spec
        self.settings = settings
        self.metrics = Metrics(lambda: self.batcher.load)
        self.batcher = Batcher(predictor, settings.capacity, self.metrics.batch_size.observe)
        self.predictor = predictor
        # Whole pictures are in memory then: one that was sent, and one from a host that may be slow.
        self.explains = {are_remote: asyncio.Lock() for are_remote in (False, True)}
        self.loaded = LoadedModel(
            file=name,
            model=network.hparams.get("backbone", network.name) if network else None,
            class_names=list(spec.class_names),
            threshold=THRESHOLD,
            image_size=spec.image_size,
            explains=network is not None,
            urls=settings.web is not None,
            max_bytes=settings.max_bytes,
            max_pictures=MAX_PICTURES,
            version=__version__,
        )

    async def predict(self, pictures: Pictures) -> list[Prediction]:
        """Return one prediction for each picture."""
        predictions = await self.batcher.answer(*pictures)
        for prediction in predictions:
            self.metrics.count_picture(prediction)
        return predictions

    async def explain(self, given: Pictures) -> bytes:
        """Return the only picture under its explanation, as a JPEG."""
        try:
            explainer = explaining(self.predictor, EXPLAINED_SIDE)
            with self.batcher.room(1, given.are_remote):
                async with self.explains[given.are_remote]:
                    picture = await self.batcher.read(given.sources[0], explainer, given.are_remote)
                    return await self.batcher.compute(lambda: self._explanation(explainer, picture))
        except UsageError as error:
            raise ProblemError(501, str(error)) from error

    def _explanation(self, explainer: Predictor, picture: ModelInput | Prediction) -> bytes:
        (prediction,) = explainer.answer([picture])
        self.metrics.count_picture(prediction)
        if prediction.explanation is None:
            raise refusal(prediction)
        content = BytesIO()
        prediction.explanation.save(content, "JPEG", quality=85)
        return content.getvalue()


def service(request: Request) -> Service:
    """Return the application's service."""
    found: Service = request.app.state.service
    return found


Shared = Annotated[Service, Depends(service)]


def authorize(
    shared: Shared,
    given: Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))],
) -> None:
    """Raise a `ProblemError` (401) where the request does not bear the server's token."""
    token = shared.settings.token or ""
    if not given or not hmac.compare_digest(given.credentials.encode(), token.encode()):
        error = ProblemError(
            401, "this needs the header Authorization: Bearer TOKEN, with the server's token"
        )
        error.headers = {"WWW-Authenticate": "Bearer"}
        raise error


async def pictures(request: Request, shared: Shared) -> Pictures:
    """Return the pictures of a request; where there is no room for one more, its body is not read."""
    shared.batcher.check_room()
    return await read_pictures(request, shared.settings.web, shared.settings.max_bytes)


Given = Annotated[Pictures, Depends(pictures)]

public = APIRouter()
guarded = APIRouter()
ASKED = problems(400, 403, 408, 413, 415, 422, 500, 503)


@guarded.post(
    "/v1/predict", response_model=Answers, openapi_extra=picture_body(MAX_PICTURES), responses=ASKED
)
async def predict(given: Given, shared: Shared) -> dict[str, list[Prediction]]:
    """Cat or dog, for one picture or several; only a lone picture's error is the error of the request."""
    async with deadline(shared.settings):
        predictions = await shared.predict(given)
    if len(predictions) == 1 and predictions[0].error is not None:
        raise refusal(predictions[0])
    return {"predictions": predictions}


@guarded.post(
    "/v1/explain",
    response_class=Response,
    openapi_extra=picture_body(1),
    responses={200: {"content": {"image/jpeg": {}}, "description": "the picture under its heat"}}
    | ASKED
    | problems(501),
)
async def explain(given: Given, shared: Shared) -> Response:
    """One picture under the places where the network saw its label (Grad-CAM)."""
    if len(given.sources) != 1:
        raise ProblemError(422, f"{len(given.sources)} pictures were sent; one is explained at a time")
    async with deadline(shared.settings):
        return Response(await shared.explain(given), media_type="image/jpeg")


@guarded.get("/v1/model")
async def loaded_model(shared: Shared) -> LoadedModel:
    """What is loaded, and what it takes."""
    return shared.loaded


@guarded.get("/metrics", response_class=PlainTextResponse)
async def metrics(shared: Shared) -> Response:
    """What was counted, for Prometheus."""
    return Response(generate_latest(shared.metrics.registry), media_type=CONTENT_TYPE_LATEST)


@public.get("/healthz", response_class=PlainTextResponse)
async def health() -> str:
    """The process lives."""
    return "ok"


@public.get("/readyz", response_class=PlainTextResponse, responses=problems(503))
async def readiness(shared: Shared) -> str:
    """A request would be taken now."""
    shared.batcher.check_room()
    return "ready"


@public.get("/", include_in_schema=False)
async def page() -> FileResponse:
    """The page."""
    return FileResponse(STATIC / "index.html")


@public.get("/docs", include_in_schema=False)
async def docs() -> FileResponse:
    """The API's page."""
    return FileResponse(STATIC / "docs.html")


@asynccontextmanager
async def deadline(settings: Settings) -> AsyncIterator[None]:
    """Raise a `ProblemError` (503) where the block takes longer than a download and an answer may."""
    try:
        async with asyncio.timeout(2 * settings.seconds):
            yield
    except TimeoutError:
        raise ProblemError(503, "the answer takes too long; try again", retry_after=5) from None


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Answer batches while the application runs."""
    app.state.service.batcher.start()
    yield
    app.state.service.batcher.stop()


def create_app(predictor: Predictor, name: str, settings: Settings | None = None) -> FastAPI:
    """Return the application that answers with a predictor.

    Args:
        predictor: decodes and computes, in batches of its size.
        name: of its file, given to whoever asks what is loaded.
        settings: limits and rights.
    """
    settings = settings or Settings()
    app = FastAPI(
        title="catdog_pl",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # theirs load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,  # to the host that the request names, which may be anybody's
    )
    app.state.service = Service(predictor, name, settings)
    app.include_router(public)
    if settings.token:
        app.include_router(guarded, dependencies=[Depends(authorize)], responses=problems(401))
    else:
        app.include_router(guarded)
    app.mount("/static/swagger", StaticFiles(directory=SWAGGER))
    app.mount("/static", StaticFiles(directory=STATIC))
    for kind in (HTTPException, CatDogError, ClientDisconnect, Exception):
        app.add_exception_handler(kind, document)
    app.add_middleware(BodyLimits, settings.max_bytes, BODIES * settings.max_bytes, settings.seconds)
    app.add_middleware(CountedRequests, app.state.service.metrics)
    if settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type"],
        )
    return app
