"""What was measured of a deployment, which the simulation draws from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from planner import documents
from planner.errors import PlannerError

Seconds = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]
Samples = Annotated[tuple[Seconds, ...], Field(min_length=1)]


class Measurements(BaseModel):
    """Samples in seconds, each as likely as the others. The defaults and where they come from: docs/warming.md."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    init_seconds: Samples = (1.2, 1.3, 1.5, 1.7, 2.0)  # from an invoke to the handler: the runtime and the imports
    load_seconds: Samples = (2.8, 3.0, 3.2, 3.5, 4.0)  # the model from S3 into memory
    run_seconds: Samples = (0.03, 0.04, 0.05, 0.06, 0.1)  # one job on a warm worker
    restore_seconds: Samples = (0.8, 1.0, 1.2)  # SnapStart; assumed: only AWS can show it
    ping_seconds: Seconds = 0.05
    overhead_seconds: Seconds = 0.12  # of a warm job: submit, queue and the answer to who waits
    idle_lifetime_seconds: tuple[Seconds, Seconds] = (300, 3600)  # uniform between the two
    model_bytes: Annotated[int, Field(ge=0, le=10**12)] = 220_000_000
    memory_mb: Annotated[int, Field(ge=128, le=10_240)] = 1_769
    architecture: Literal["x86_64", "arm64"] = "x86_64"
    keeps_model: bool = True  # False: each invoke fetches it again, as the article's first version did

    @classmethod
    def read(cls, path: Path) -> Measurements:
        """Of a JSON file; what it does not say is the default.

        Raises:
            PlannerError: when it cannot be read or used.
        """
        measured = documents.read(path, TypeAdapter(cls), field="measurements")
        low, high = measured.idle_lifetime_seconds
        if high < low:
            raise PlannerError("measurements.idle_lifetime_seconds", f"{high:g} is less than {low:g}")
        return measured

    def draw(self, name: str, chance: np.random.Generator, count: int) -> NDArray[np.float64]:
        """So many draws from the samples of a field."""
        drawn: NDArray[np.float64] = chance.choice(np.array(getattr(self, name), dtype=np.float64), count)
        return drawn

    def draw_lifetimes(self, chance: np.random.Generator, count: int) -> NDArray[np.float64]:
        """How long environments stay when they are idle."""
        return chance.uniform(*self.idle_lifetime_seconds, count)
