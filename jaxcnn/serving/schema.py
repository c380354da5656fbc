"""The interface in words that programs read: OpenAPI 3.1, as it is served at /openapi.json."""

from typing import TYPE_CHECKING, Any

from jaxcnn.serving.upload import FIELD

if TYPE_CHECKING:
    from fastapi import FastAPI

_SHARE = {"type": "number", "minimum": 0, "maximum": 1}
_CLASS = {
    "type": "object",
    "required": ["label", "probability"],
    "properties": {"label": {"type": "string"}, "probability": _SHARE},
}
_PREDICTION = {
    "type": "object",
    "required": ["label", "probability", "top"],
    "properties": {
        "label": {"type": "string", "description": "The likeliest class."},
        "probability": _SHARE,
        "top": {"type": "array", "items": _CLASS, "description": "The five likeliest classes."},
    },
}
_PICTURE = {"type": "string", "description": "A data URL: PNG or JPEG."}
_EXPLANATION = {
    "type": "object",
    "required": [*_PREDICTION["required"], "image", "heat"],
    "properties": {
        **_PREDICTION["properties"],  # type: ignore[dict-item]
        "image": {**_PICTURE, "description": "What the model sees, as a data URL."},
        "heat": {**_PICTURE, "description": "The same under its Grad-CAM map, as a data URL."},
    },
}
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string"}},
}
_CARD = {
    "type": "object",
    "required": ["name", "class_names", "image_shape", "explains"],
    "properties": {
        "name": {"type": "string"},
        "model": {"type": "string", "description": "Its architecture."},
        "class_names": {"type": "array", "items": {"type": "string"}},
        "image_shape": {
            "type": "array",
            "items": {"type": "integer"},
            "description": "Height, width and channels of what the model sees.",
        },
        "explains": {"type": "boolean", "description": "Whether /explain answers."},
    },
}
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
    "schema": {"type": "string"},
}
_IMAGES = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": [FIELD],
                "properties": {
                    FIELD: {
                        "type": "array",
                        "minItems": 1,
                        "items": {"type": "string", "format": "binary"},
                        "description": "An image file; may be repeated.",
                    }
                },
            }
        },
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["images"],
                "properties": {
                    "images": {
                        "type": "array",
                        "minItems": 1,
                        "items": {"type": "string", "format": "byte"},
                        "description": "Image files in base64.",
                    }
                },
            }
        },
    },
}


def _answers(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": properties}


def _told(
    summary: str,
    answer: dict[str, Any],
    errors: tuple[int, ...],
    *,
    asks: bool = False,
    **extra: Any,
) -> dict[str, Any]:
    """Keywords of a route."""
    responses: dict[int | str, Any] = {
        200: {"description": "The answer.", "content": {"application/json": {"schema": answer}}}
    }
    for status in errors:
        content = {"application/json": {"schema": _ERROR}}
        responses[status] = {"description": _REASONS[status], "content": content}
    more = {"parameters": [_MODEL]} if asks else {}
    return {"summary": summary, "responses": responses, "openapi_extra": {**more, **extra}}


_NAMED = {"model": {"type": "string"}}
_UPLOAD = (400, 401, 404, 413, 415, 422, 503)

PREDICT = _told(
    "What is in these images?",
    _answers({**_NAMED, "predictions": {"type": "array", "items": _PREDICTION}}),
    _UPLOAD,
    asks=True,
    requestBody=_IMAGES,
)
EXPLAIN = _told(
    "What is in these images, and where does the model look?",
    _answers({**_NAMED, "predictions": {"type": "array", "items": _EXPLANATION}}),
    (*_UPLOAD[:3], 409, *_UPLOAD[3:]),
    asks=True,
    requestBody=_IMAGES,
)
MODEL = _told("One model: its classes, its size, how good it is.", _CARD, (401, 404), asks=True)
MODELS = _told("All models.", _answers({"models": {"type": "array", "items": _CARD}}), (401,))
HEALTHZ = _told("Does the server live?", _answers({"status": {"type": "string"}}), ())
READYZ = _told("May requests be sent to it?", _answers({"status": {"type": "string"}}), (503,))
METRICS = _told("Counts for Prometheus.", {}, (401,))
METRICS["responses"][200]["content"] = {"text/plain": {"schema": {"type": "string"}}}


def interface(app: "FastAPI") -> dict[str, Any]:
    """The OpenAPI description of an application whose routes have these keywords."""
    found = app.openapi()
    for path in found["paths"].values():
        for operation in path.values():
            answer = operation["responses"]["200"]["content"]
            # The framework's guess of what a route returns stands beside what it is told.
            if "text/plain" in answer:
                answer.pop("application/json", None)
    return found
