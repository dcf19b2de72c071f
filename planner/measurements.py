"""Measured times of a deployment. The simulation draws its random times from them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from planner.errors import PlannerError
from planner.json_files import read_json

Seconds = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]
Samples = Annotated[tuple[Seconds, ...], Field(min_length=1)]
Architecture = Literal["x86_64", "arm64"]


class Measurements(BaseModel):
    """Samples in seconds, each as likely as the others. docs/warming.md says where the defaults come from."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    init_seconds: Samples = (1.2, 1.3, 1.5, 1.7, 2.0)  # from the invoke to the handler: the runtime and the imports
    load_seconds: Samples = (2.8, 3.0, 3.2, 3.5, 4.0)  # the model, from S3 into memory
    run_seconds: Samples = (0.03, 0.04, 0.05, 0.06, 0.1)  # one job on a warm worker
    restore_seconds: Samples = (0.8, 1.0, 1.2)  # SnapStart; assumed, because only AWS can show it
    ping_seconds: Seconds = 0.05
    overhead_seconds: Seconds = 0.12  # of a warm job: its submit, its time in the queue, and the answer to the client
    idle_lifetime_seconds: tuple[Seconds, Seconds] = (300, 3600)  # uniform between the two
    model_bytes: Annotated[int, Field(ge=0, le=10**12)] = 220_000_000
    memory_mb: Annotated[int, Field(ge=128, le=10_240)] = 1_769
    architecture: Architecture = "x86_64"
    keeps_model: bool = True  # False: each invoke fetches the model again, as the article's first version did

    @classmethod
    def read(cls, path: Path) -> Measurements:
        """Return the measurements of a JSON file. A field that the file lacks has its default.

        Raises:
            PlannerError: If the file cannot be read, or its content is not valid.
        """
        measured = read_json(path, TypeAdapter(cls), field="measurements")
        low, high = measured.idle_lifetime_seconds
        if high < low:
            raise PlannerError("measurements.idle_lifetime_seconds", f"{high:g} is less than {low:g}")
        return measured

    @property
    def memory_gb(self) -> float:
        """Return the worker's memory in GB, the unit of Lambda's prices."""
        return self.memory_mb / 1024

    def draw(self, field: str, rng: np.random.Generator, count: int) -> NDArray[np.float64]:
        """Return `count` random draws from the samples of a field."""
        drawn: NDArray[np.float64] = rng.choice(np.array(getattr(self, field), dtype=np.float64), count)
        return drawn

    def draw_lifetimes(self, rng: np.random.Generator, count: int) -> NDArray[np.float64]:
        """Return `count` random times, in seconds, that an idle environment lives."""
        return rng.uniform(*self.idle_lifetime_seconds, count)
