"""The HTTP interface: which path answers what. The contract stands in `jaxcnn.serving.schema`."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxcnn.data.damage import pixel_limit
from jaxcnn.errors import UserError, printable
from jaxcnn.inference.classifier import answer
from jaxcnn.serving import schema
from jaxcnn.serving.limits import Limits, Refused, busy, failed
from jaxcnn.serving.middleware import Middleware
from jaxcnn.serving.pages import as_json, docs_page, main_page, page_response, refusal
from jaxcnn.serving.served import Served, heat_picture, picture
from jaxcnn.serving.state import State
from jaxcnn.serving.upload import held_body, images_of

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
    threads: that decode images. log: takes the details of each request; None for nothing.
    """
    from fastapi import FastAPI

    state = State(models, limits or Limits(), threads)
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
    _add_routes(app, state)
    _add_pages(app)
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
    from starlette.exceptions import HTTPException

    async def refused(request: "Request", error: Refused) -> "Response":
        return refusal(error)

    async def of_framework(request: "Request", error: HTTPException) -> "Response":
        reasons = {404: "no such path; see /docs", 405: "this path takes another method; see /docs"}
        reason = reasons.get(error.status_code, str(error.detail))
        return refusal(Refused(error.status_code, reason))

    async def bug(request: "Request", error: Exception) -> "Response":
        return refusal(failed())  # the framework raises it again, and the middleware logs it

    return {Refused: refused, HTTPException: of_framework, Exception: bug}


def _add_routes(app: "FastAPI", state: State) -> None:
    from fastapi import Request, Response

    async def predict(request: Request) -> Response:
        return await _predictions(request, state, explained=False)

    async def explain(request: Request) -> Response:
        return await _predictions(request, state, explained=True)

    async def model(request: Request) -> Response:
        return as_json(_card(_chosen(request, state)))

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

    described = schema.routes()
    for method, functions in {
        "POST": (predict, explain),
        "GET": (model, models, healthz, readyz, metrics),
    }.items():
        for function in functions:
            path = f"/{function.__name__}"
            app.add_api_route(path, function, methods=[method], **described[path])


def _add_pages(app: "FastAPI") -> None:
    from starlette.requests import Request
    from starlette.responses import Response

    interface = app.openapi()
    main, docs = main_page(), docs_page(interface)
    pages: dict[str, Callable[[Request], Response]] = {
        "/": lambda _: page_response(main),
        "/docs": lambda _: page_response(docs),
        "/openapi.json": lambda _: as_json(interface),
    }
    for path, respond in pages.items():
        app.add_route(path, respond, ["GET"], include_in_schema=False)


async def _predictions(request: "Request", state: State, explained: bool) -> "Response":
    """The answer to a request's images. explained: with what the model looks at."""
    async with _in_time(request, state):
        model, images = await _model_and_images(request, state)
        if explained and model.maps is None:
            raise Refused(409, f"model {model.name!r} cannot be looked into; serve its run")
        probabilities = await model.answers.submit(images)
        if explained and model.maps is not None:
            maps = await model.maps.submit(images)
            pictures = await asyncio.get_running_loop().run_in_executor(
                state.pool, _pictures, images, maps
            )
        else:
            pictures = [{}] * len(images)
    state.metrics.images.labels(model.name).inc(len(images))
    warnings = [model.classifier.warning(image) for image in images]
    predictions = [
        answer(model.classifier, one, _TOP) | shown | ({"warning": warning} if warning else {})
        for one, shown, warning in zip(probabilities, pictures, warnings, strict=True)
    ]
    if any(warnings):
        request.scope["jaxcnn"]["unlike_training"] = sum(map(bool, warnings))
    return as_json({"model": model.name, "predictions": predictions})


def _card(model: Served) -> dict[str, Any]:
    return {**model.classifier.card, "name": model.name, "explains": model.maps is not None}


def _chosen(request: "Request", state: State) -> Served:
    """The model that is asked, or the first; Refused where there is none of that name."""
    name = request.query_params.get("model", next(iter(state.models)))
    if name not in state.models:
        known = ", ".join(state.models)
        raise Refused(404, f"no model {printable(name[:80])!r}; there is {known}")
    return state.models[name]


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


async def _model_and_images(request: "Request", state: State) -> tuple[Served, np.ndarray]:
    """The model that is asked, and the images of the request: uint8[n, H, W, C]."""
    model = _chosen(request, state)
    state.check_ready()
    details, headers, limits = request.scope["jaxcnn"], request.headers, state.limits
    length = headers.get("content-length")
    async with held_body(request.stream(), length, limits, state.memory) as body:
        details |= {"model": model.name, "bytes": len(body)}
        files = images_of(body, headers.get("content-type", ""), limits)
        details["images"] = len(files)
        if len(files) > model.answers.waiting - model.answers.queued and model.answers.queued:
            raise busy(f"{model.answers.queued} images wait already")  # before they are decoded
        if len(body) <= _SMALL_BYTES:
            with contextlib.suppress(Refused):  # by the bound; or as it will be, with its reason
                return model, _pixels(model, files, min(limits.pixels, _SMALL_PIXELS))
        return model, await asyncio.get_running_loop().run_in_executor(
            state.pool, _pixels, model, files, limits.pixels
        )


def _pixels(model: Served, files: list[bytes], most: int) -> np.ndarray:
    """The images as the model takes them; Refused with the reason of the first that is none."""
    images = []
    with pixel_limit(most):
        for number, content in enumerate(files, start=1):
            try:
                images.append(model.classifier.read(content))
            except (ValueError, UserError) as error:
                which = f"file {number} of {len(files)}" if len(files) > 1 else "the file"
                raise Refused(422, printable(f"{which} {error}")) from error
    return np.stack(images)


def _pictures(images: np.ndarray, maps: np.ndarray) -> list[dict[str, Any]]:
    return [
        {"image": picture(image), "heat": heat_picture(image, heat)}
        for image, heat in zip(images, maps, strict=True)
    ]
