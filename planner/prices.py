"""Prices of AWS: those that every strategy needs, and the base class for the prices that one strategy adds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from planner.errors import PlannerError
from planner.measurements import Architecture

PRICES = Path(__file__).parent / "prices.json"

Price = Annotated[float, Field(ge=0, allow_inf_nan=False)]
PerArchitecture = dict[Architecture, Price]


class PriceFields(BaseModel):
    """Prices in USD, without free tiers. A strategy derives a class from it for the prices that it alone needs."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @classmethod
    def select_from(cls, prices: PriceFields) -> Self:
        """Return `prices` as an object of this class.

        Raises:
            TypeError: If the prices were read without the fields of this class.
        """
        if not isinstance(prices, cls):
            raise TypeError(f"The prices lack the fields of {cls.__name__}; read them with `read_prices`")
        return prices


class Prices(PriceFields):
    """The prices that every strategy needs, with their date and region."""

    date: Annotated[str, Field(pattern=r"^\d{4}-\d{2}(-\d{2})?$")]
    region: str
    currency: Literal["USD"]
    lambda_gb_second: PerArchitecture
    lambda_request: Price
    http_api_request: Price
    sqs_request: Price
    dynamodb_write: Price
    dynamodb_read: Price
    s3_get: Price
    log_gb: Price
    kms_sign: Price


def select_architecture(prices: PerArchitecture, architecture: Architecture, *, field: str) -> float:
    """Return the price for an architecture. `field` is the price's name in the prices file.

    Raises:
        PlannerError: If the prices lack the architecture.
    """
    if architecture not in prices:
        raise PlannerError(f"prices.{field}", f"there is no price for {architecture}")
    return prices[architecture]
