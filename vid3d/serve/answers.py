"""The JSON of the answers, of which the description at /openapi.json is made."""

from __future__ import annotations

from pydantic import BaseModel, Field


class Segment(BaseModel):
    """A stretch of the time line with one label."""

    start: float = Field(description="seconds")
    end: float
    label: str
    probability: float


class Picture(BaseModel):
    """A frame that the network saw."""

    seconds: float
    image: str = Field(description="a JPEG, as a data: URL")


class Prediction(BaseModel):
    """The answer for a video, with the fields of `vid3d predict --json`."""

    path: str = Field(description="the file's name as it was sent, or 'upload'")
    label: str = Field(description="the most probable class, or 'unknown' below the threshold")
    probability: float
    probabilities: dict[str, float]
    segments: list[Segment]
    num_frames: int
    seconds: float
    damage: str = Field(description="what is wrong with the file, or ''")
    note: str


class Labelled(BaseModel):
    """What `vid3d predict --json` prints, and the frames if they were asked for."""

    predictions: list[Prediction]
    errors: list[dict[str, str]] = Field(description="empty: a video that fails is a status")
    frames: list[Picture] | None = None


class Explained(BaseModel):
    """A line of `vid3d explain --json`, and the frames with the heat map on them."""

    path: str
    label: str
    probability: float
    method: str
    times: list[float]
    shares: list[float]
    centres: list[list[float | None]]
    error: str
    frames: list[Picture]


class Limits(BaseModel):
    """What a request may ask for."""

    upload_bytes: int
    seconds: float
    pixels: int
    concurrent: int
    wait_seconds: float


class About(BaseModel):
    """The network behind the server, and what requests may ask for."""

    version: str
    architecture: str
    checkpoint: int = Field(description="optimizer steps")
    classes: list[str]
    engine: str
    precision: str
    limits: Limits


class Health(BaseModel):
    """That the server answers."""

    status: str = "ok"


class Failure(BaseModel):
    """Why there is no answer, in one line."""

    error: str
