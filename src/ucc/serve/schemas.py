"""The JSON that the service takes and gives, as types: they check requests and describe both in the OpenAPI page.

Tensors follow the Open Inference Protocol, version 2, with its extension for binary data (KServe).
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Name = Literal["classes", "uncertainty", "logits"]


class Problem(BaseModel):
    """Why a request was refused, and what to do about it."""

    error: str


class ClassEntry(BaseModel):
    """A class: its index in the class map, its name, its RGB colour."""

    index: int
    name: str
    color: Annotated[list[int], Field(min_length=3, max_length=3)]


class ClassShare(ClassEntry):
    """A class, and its share of a picture's pixels in [0, 1]."""

    share: float


class PictureAnswer(BaseModel):
    """A picture's segmentation.

    `class_map` is an indexed PNG and `uncertainty_map` a grey one, 0 certain and 255 as uncertain as C classes can be,
    1 - 1/C; both in base64.
    """

    width: int
    height: int
    classes: list[ClassShare]
    mean_uncertainty: float
    class_map: str
    uncertainty_map: str


class ServiceLimits(BaseModel):
    """What one request may have."""

    bytes: int
    pixels: int


class ModelAnswer(BaseModel):
    """The model that is served, by its file's metadata; `miou` in percent and its split, where it was measured."""

    name: str
    classes: list[ClassEntry]
    miou: float | None
    miou_split: str | None
    dataset: str
    revision: str
    step: int
    quantized: bool
    ucc_version: str
    limits: ServiceLimits


class _Request(BaseModel):
    # JSON's own types: "1" is no number, and 1 is no text.
    model_config = ConfigDict(strict=True)


class RequestParameters(_Request):
    """`binary_data_output`: outputs that say nothing else come as binary data after the JSON."""

    binary_data_output: bool = False


class InputParameters(_Request):
    """`binary_data_size`: the tensor is no `data` but so many bytes after the JSON."""

    binary_data_size: Annotated[int, Field(ge=0)] = 0


class OutputParameters(_Request):
    """`binary_data`: whether this output comes as binary data."""

    binary_data: bool = False


class InputTensor(_Request):
    """RGB images, row by row: shape [batch, height, width, 3], `data` flat or nested, values 0 to 255."""

    name: Literal["image"]
    datatype: Literal["UINT8"]
    shape: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=4, max_length=4)]
    data: list[Any] = Field(default_factory=list)
    parameters: InputParameters = InputParameters()


class RequestedOutput(_Request):
    """An output to be given."""

    name: Name
    parameters: OutputParameters = OutputParameters()


class InferRequest(_Request):
    """An inference request; without `outputs`, all are given."""

    id: str = ""
    parameters: RequestParameters = RequestParameters()
    inputs: Annotated[list[InputTensor], Field(min_length=1, max_length=1)]
    outputs: Annotated[list[RequestedOutput], Field(max_length=3)] = Field(default_factory=list)


class OutputTensor(BaseModel):
    """An output: `data` flat, or `parameters.binary_data_size` bytes after the JSON."""

    name: Name
    datatype: Literal["UINT8", "FP32"]
    shape: list[int]
    data: list[float] = Field(default_factory=list)
    parameters: dict[str, int] = Field(default_factory=dict)


class InferAnswer(BaseModel):
    """An inference response."""

    model_name: str
    model_version: str
    id: str = ""
    outputs: list[OutputTensor]


class TensorMetadata(BaseModel):
    """A tensor of the model; -1 stands for any size."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(BaseModel):
    """What the protocol tells of a model."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ServerMetadata(BaseModel):
    """What the protocol tells of a server."""

    name: str
    version: str
    extensions: list[str]


class Live(BaseModel):
    """Whether the service answers at all."""

    live: bool


class Ready(BaseModel):
    """Whether it takes requests."""

    ready: bool


class ModelReady(Ready):
    """Whether the model takes requests."""

    name: str
