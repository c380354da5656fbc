"""The HTTP interface: which path answers what. The contract stands in `jaxcnn.serving.schema`."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxcnn.data.damage import pixel_limit
from jaxcnn.errors import UserError, printable
from jaxcnn.inference.classifier import answer
from jaxcnn.serving import schema
from jaxcnn.serving.limits import Limits, Refused, busy, failed
from jaxcnn.serving.metrics import Metrics
from jaxcnn.serving.middleware import Middleware
from jaxcnn.serving.pages import as_json, docs_page, failure, main_page, page_response, refusal
from jaxcnn.serving.served import Served, heat_picture, picture
from jaxcnn.serving.state import State
from jaxcnn.serving.upload import images_of, read_body

if TYPE_CHECKING:
    from fastapi import FastAPI, Request, Response

# Classes that an answer names.
_TOP = 5
# An image this small is decoded at once (40 us for a JPEG of 32x32 pixels): to hand it to another
# thread and to be woken again costs as much.
_SMALL_BYTES, _SMALL_PIXELS = 8192, 64 * 64


def make_app(
    models: Mapping[str, Served],
    limits: Limits | None = None,
    *,
    token: str = "",
    cors_origin: str = "",
    threads: int = 2,
    log: Callable[[dict[str, Any]], None] | None = None,
) -> Middleware:
    """Returns the ASGI application, with its `state`.

    models: by name; the first answers where a request names none.
    token: what clients must show, "" for none. cors_origin: of pages elsewhere that may ask.
    threads: that decode images. log: takes what is told of each request; None for nothing.
    """
    from fastapi import FastAPI

    state = State(
        models, limits or Limits(), Metrics(models), ThreadPoolExecutor(threads, "decode")
    )
    app = FastAPI(
        title="jaxcnn",
        description="Image classification by models that jaxcnn trained.",
        docs_url=None,  # FastAPI's own pages load scripts from elsewhere
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        lifespan=lambda _: _life(state),
        exception_handlers=_handlers(),
    )
    _add_predictions(app, state)
    _add_reports(app, state)
    _add_pages(app, state)
    return Middleware(app, state, token=token, cors_origin=cors_origin, log=log)


@asynccontextmanager
async def _life(state: State) -> AsyncIterator[None]:
    """Starts the queues and warms the models up beside them; at the end answers what waits."""
    for batcher in state.batchers:
        batcher.start()
    threading.Thread(target=state.warm_up, name="warm-up", daemon=True).start()
    yield
    await asyncio.to_thread(state.close)


def _handlers() -> dict[Any, Any]:
    """Every error is {"error": "..."}: the framework's too."""
    from fastapi.exceptions import RequestValidationError
    from starlette.exceptions import HTTPException

    async def refused(request: "Request", error: Refused) -> "Response":
        return refusal(error)

    async def of_framework(request: "Request", error: HTTPException) -> "Response":
        words = {404: "no such path; see /docs", 405: "this path takes another method; see /docs"}
        return failure(error.status_code, words.get(error.status_code, str(error.detail)))

    async def invalid(request: "Request", error: RequestValidationError) -> "Response":
        told = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        return failure(422, told)

    async def bug(request: "Request", error: Exception) -> "Response":
        return refusal(failed())  # the framework raises the error again, and the gate logs it

    return {
        Refused: refused,
        HTTPException: of_framework,
        RequestValidationError: invalid,
        Exception: bug,
    }


def _add_predictions(app: "FastAPI", state: State) -> None:
    from fastapi import Request, Response

    async def predict(request: Request) -> Response:
        async with _in_time(request, state):
            model, images = await _given(request, state)
            found = await model.answers.submit(images)
        state.metrics.images.labels(model.name).inc(len(images))
        said = [answer(model.classifier, one, _TOP) for one in found]
        return as_json({"model": model.name, "predictions": said})

    async def explain(request: Request) -> Response:
        async with _in_time(request, state):
            model, images = await _given(request, state)
            if model.maps is None:
                raise Refused(409, f"model {model.name!r} cannot be looked into; serve its run")
            found = await model.answers.submit(images)
            maps = await model.maps.submit(images)
            said = await asyncio.get_running_loop().run_in_executor(
                state.pool, _explanations, model, images, found, maps
            )
        state.metrics.images.labels(model.name).inc(len(images))
        return as_json({"model": model.name, "predictions": said})

    predict.__annotations__ = explain.__annotations__ = {"request": Request, "return": Response}
    for path, function, told in (
        ("/predict", predict, schema.PREDICT),
        ("/explain", explain, schema.EXPLAIN),
    ):
        app.add_api_route(path, function, methods=["POST"], **told)


def _add_reports(app: "FastAPI", state: State) -> None:
    from fastapi import Request, Response

    async def model(request: Request) -> Response:
        return as_json(_card(state.chosen(_asked(request))))

    async def models(request: Request) -> Response:
        return as_json({"models": [_card(one) for one in state.models.values()]})

    async def healthz(request: Request) -> Response:
        return as_json({"status": "alive"})

    async def readyz(request: Request) -> Response:
        state.check_ready()
        if state.draining:
            raise Refused(503, "the server is stopping")
        return as_json({"status": "ready"})

    async def metrics(request: Request) -> Response:
        return Response(state.metrics.text(), media_type="text/plain; version=0.0.4")

    for function, told in (
        (model, schema.MODEL),
        (models, schema.MODELS),
        (healthz, schema.HEALTHZ),
        (readyz, schema.READYZ),
        (metrics, schema.METRICS),
    ):
        function.__annotations__ = {"request": Request, "return": Response}
        app.add_api_route(f"/{function.__name__}", function, methods=["GET"], **told)


def _add_pages(app: "FastAPI", state: State) -> None:
    from starlette.requests import Request
    from starlette.responses import Response

    interface = schema.interface(app)
    pages = {"/": main_page(), "/docs": docs_page(interface)}

    def shows(html: str) -> Callable[[Request], Response]:
        return lambda request: page_response(html)

    for path, html in pages.items():
        app.add_route(path, shows(html), methods=["GET"], include_in_schema=False)
    app.add_route(
        "/openapi.json",
        lambda request: as_json(interface),
        methods=["GET"],
        include_in_schema=False,
    )


def _card(model: Served) -> dict[str, Any]:
    return {**model.classifier.card, "name": model.name, "explains": model.maps is not None}


def _asked(request: "Request") -> str | None:
    return request.query_params.get("model")


@asynccontextmanager
async def _in_time(request: "Request", state: State) -> AsyncIterator[None]:
    """Refused where what is within takes longer than a request may."""
    try:
        async with asyncio.timeout(state.limits.seconds):
            yield
    except TimeoutError as error:
        if "bytes" not in request.scope["jaxcnn"]:
            raise Refused(408, f"not all sent within {state.limits.seconds:g} s") from error
        raise busy(f"no answer within {state.limits.seconds:g} s") from error


async def _given(request: "Request", state: State) -> tuple[Served, np.ndarray]:
    """The model that is asked, and the images of the request: uint8[n, H, W, C]."""
    model = state.chosen(_asked(request))
    state.check_ready()
    headers = request.headers
    body = await read_body(
        request.stream(), headers.get("content-length"), state.limits, state.memory
    )
    state.note(request.scope, model=model.name, bytes=len(body))
    try:
        files = images_of(body, headers.get("content-type", ""), state.limits)
        state.note(request.scope, images=len(files))
        if len(files) > model.answers.waiting - model.answers.queued and model.answers.queued:
            raise busy(f"{model.answers.queued} images wait already")  # before they are decoded
        most = state.limits.pixels
        if len(body) <= _SMALL_BYTES:
            with contextlib.suppress(Refused):  # by the bound; or as it will be, with its reason
                return model, _pixels(model, files, min(most, _SMALL_PIXELS))
        read = asyncio.get_running_loop().run_in_executor(state.pool, _pixels, model, files, most)
        return model, await read
    finally:
        state.memory.held -= len(body)


def _pixels(model: Served, files: list[bytes], most: int) -> np.ndarray:
    """The images as the model takes them; Refused with the reason of the first that is none."""
    found = []
    with pixel_limit(most):
        for place, content in enumerate(files):
            try:
                found.append(model.classifier.read(content))
            except (ValueError, UserError) as error:
                which = f"file {place + 1} of {len(files)}" if len(files) > 1 else "the file"
                raise Refused(422, printable(f"{which} {error}")) from error
    return np.stack(found)


def _explanations(
    model: Served, images: np.ndarray, found: np.ndarray, maps: np.ndarray
) -> list[dict[str, Any]]:
    return [
        {
            **answer(model.classifier, one, _TOP),
            "image": picture(image),
            "heat": heat_picture(image, heat),
        }
        for image, one, heat in zip(images, found, maps, strict=True)
    ]
