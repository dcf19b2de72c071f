"""The structured logger: one JSON object per line, written by Powertools for AWS Lambda."""

from __future__ import annotations

from aws_lambda_powertools import Logger

# POWERTOOLS_SERVICE_NAME and POWERTOOLS_LOG_LEVEL set the service's name and the level.
logger = Logger(utc=True)
