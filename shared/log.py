"""Structured logs: one JSON object a line, by AWS Lambda Powertools."""

from __future__ import annotations

from aws_lambda_powertools import Logger

# The service's name and the level come from POWERTOOLS_SERVICE_NAME and POWERTOOLS_LOG_LEVEL.
logger = Logger(utc=True)
