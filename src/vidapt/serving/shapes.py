"""What may be asked, as OpenAI's clients send it; what would change an answer and is not known is refused."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from vidapt.serving.terms import MOST_LETTERS, MOST_TURNS

MOST_TEXTS = 256
"""Inputs of one request for vectors."""

Letters = Annotated[str, Field(max_length=MOST_LETTERS)]
_Name = Annotated[str, Field(min_length=1, max_length=256)]
_Zero = Annotated[float, Field(ge=0, le=0)]


class Shape(BaseModel):
    """Base of all: numbers are finite, and words about the client (`user`, `metadata`) are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class Fault(Shape):
    """What is wrong with a request."""

    message: str
    type: str
    param: str | None = None
    code: str


class Refusal(Shape):
    """What is answered to a request that is refused."""

    error: Fault


class Address(Shape):
    """Where a clip or picture is: `data:...;base64,...`, or an address where the server fetches any."""

    url: str


class TextPart(Shape):
    """Words."""

    type: Literal["text"]
    text: Letters


class ImagePart(Shape):
    """A picture."""

    type: Literal["image_url"]
    image_url: Address


class VideoPart(Shape):
    """A clip."""

    type: Literal["video_url"]
    video_url: Address


class FileName(Shape):
    """An uploaded file."""

    file_id: _Name


class FilePart(Shape):
    """A clip or picture that was uploaded."""

    type: Literal["file"]
    file: FileName


Media = ImagePart | VideoPart | FilePart
Part = Annotated[TextPart | ImagePart | VideoPart | FilePart, Field(discriminator="type")]


class Message(Shape):
    """One turn."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Letters | Annotated[list[Part], Field(max_length=MOST_TURNS)]


class JsonSchema(Shape):
    """What an answer's JSON is to be like."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False, populate_by_name=True)
    name: _Name = "answer"
    schema_: dict[str, Any] = Field(alias="schema")


class PlainText(Shape):
    """Words."""

    type: Literal["text"]


class AnyJson(Shape):
    """Some JSON object."""

    type: Literal["json_object"]


class SchemaJson(Shape):
    """JSON that fits a schema."""

    type: Literal["json_schema"]
    json_schema: JsonSchema


class StreamOptions(Shape):
    """What is told while an answer is written."""

    include_usage: bool = False


class Asked(Shape):
    """A conversation to be gone on with."""

    model: _Name
    messages: Annotated[list[Message], Field(min_length=1, max_length=MOST_TURNS)]
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    response_format: Annotated[PlainText | AnyJson | SchemaJson, Field(discriminator="type")] | None = None
    n: Literal[1] | None = None
    stop: Annotated[list[str], Field(max_length=0)] | None = None
    logprobs: Literal[False] | None = None
    tools: Annotated[list[Any], Field(max_length=0)] | None = None
    presence_penalty: _Zero | None = None
    frequency_penalty: _Zero | None = None
    logit_bias: Annotated[dict[str, float], Field(max_length=0)] | None = None


Input = Annotated[ImagePart | VideoPart | FilePart | TextPart, Field(discriminator="type")]


class Compared(Shape):
    """Texts and clips whose vectors are wanted."""

    model: _Name
    input: Letters | Annotated[list[Letters | Input], Field(min_length=1, max_length=MOST_TEXTS)]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: None = None
