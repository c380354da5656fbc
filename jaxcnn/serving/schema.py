"""The interface in words that programs read: OpenAPI 3.1, as it is served at /openapi.json."""

from typing import Any

from jaxcnn.serving.upload import FIELD

Schema = dict[str, Any]


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "required": list(properties), "properties": properties}


def _answer(**properties: Schema) -> Schema:
    """An object that may have a warning too."""
    required = _object(**properties)
    warning = _text("How it looks unlike the images of training, where it does.")
    return required | {"properties": properties | {"warning": warning}}


def _array(items: Schema, **more: Any) -> Schema:
    return {"type": "array", "items": items, **more}


def _text(description: str = "") -> Schema:
    return {"type": "string"} | ({"description": description} if description else {})


_SHARE = {"type": "number", "minimum": 0, "maximum": 1}
_PREDICTION = {
    "label": _text("The likeliest class."),
    "probability": _SHARE,
    "top": _array(
        _object(label=_text(), probability=_SHARE), description="The five likeliest classes."
    ),
}
_EXPLANATION = _PREDICTION | {
    "image": _text("What the model sees, as a data URL."),
    "heat": _text("The same under its Grad-CAM map, as a data URL."),
}
_CARD = _object(
    name=_text(),
    model=_text("Its architecture."),
    class_names=_array(_text()),
    image_shape=_array(
        {"type": "integer"}, description="Height, width and channels of what the model sees."
    ),
    explains={"type": "boolean", "description": "Whether /explain answers."},
)
_CARD["required"].remove("model")  # the card in a file of another program may not say it
_STATUS = _object(status=_text())
_REASONS = {
    400: "The request holds no image, or cannot be read.",
    401: "The server asks for a token.",
    404: "No model of that name.",
    409: "This model gives no maps.",
    413: "Too many bytes or images.",
    415: "Neither a form nor JSON.",
    422: "An image that cannot be read, or fields of another form than is expected.",
    503: "Busy or not ready: come again after Retry-After seconds.",
}
_MODEL = {
    "name": "model",
    "in": "query",
    "required": False,
    "description": "Which model answers; the first one where none is named.",
    "schema": _text(),
}


def _images(field: str, form: str, description: str) -> Schema:
    items = {"type": "string", "format": form}
    return {"schema": _object(**{field: _array(items, minItems=1, description=description)})}


_IMAGES = {
    "required": True,
    "content": {
        "multipart/form-data": _images(FIELD, "binary", "An image file; may be repeated."),
        "application/json": _images("images", "byte", "Image files in base64."),
    },
}


def _route(
    summary: str,
    answer: Schema,
    errors: tuple[int, ...],
    kind: str = "application/json",
    **extra: Any,
) -> dict[str, Any]:
    """Returns the keywords of a route of FastAPI. extra: of OpenAPI's operation."""
    from starlette.responses import Response

    responses: dict[int | str, Any] = {
        200: {"description": "The answer.", "content": {kind: {"schema": answer}}}
    }
    for status in errors:
        content = {"application/json": {"schema": _object(error=_text())}}
        responses[status] = {"description": _REASONS[status], "content": content}
    return {
        "summary": summary,
        "responses": responses,
        "response_class": Response,  # of which the framework adds no schema of its own
        "openapi_extra": extra,
    }


def _upload(summary: str, properties: dict[str, Schema], *errors: int) -> dict[str, Any]:
    """As `_route`, of what takes images and answers for each."""
    answer = _object(model=_text(), predictions=_array(_answer(**properties)))
    errors = tuple(sorted((400, 401, 404, 413, 415, 422, 503, *errors)))
    return _route(summary, answer, errors, parameters=[_MODEL], requestBody=_IMAGES)


def routes() -> dict[str, dict[str, Any]]:
    """Returns the keywords of each route of FastAPI, by its path."""
    return {
        "/predict": _upload("What is in these images?", _PREDICTION),
        "/explain": _upload(
            "What is in these images, and where does the model look?", _EXPLANATION, 409
        ),
        "/model": _route(
            "One model: its classes, its size, how good it is.",
            _CARD,
            (401, 404),
            parameters=[_MODEL],
        ),
        "/models": _route("All models.", _object(models=_array(_CARD)), (401,)),
        "/healthz": _route("Does the server live?", _STATUS, ()),
        "/readyz": _route("May requests be sent to it?", _STATUS, (503,)),
        "/metrics": _route("Counts for Prometheus.", _text(), (401,), "text/plain"),
    }
