"""The application: the path of every request, and the construction of the services."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from aws_lambda_powertools.utilities.typing import LambdaContext

from functions.submit.admission import Admission, Caller, render_quotas
from functions.submit.bodies import read_body, read_query
from functions.submit.dispatch import Dispatcher
from functions.submit.estimates import Estimates
from functions.submit.jobs import JobService
from functions.submit.openapi import Specification
from functions.submit.routes import PUBLIC, find_route
from functions.submit.services import Services
from functions.submit.submission import Submission
from functions.submit.views import Views
from functions.submit.web import Request
from functions.submit.webhooks import Webhooks
from shared import http
from shared.auth.clients import ClientStore
from shared.auth.tokens import TokenVerifier
from shared.aws.blobs import Blobs
from shared.aws.queue import Queue
from shared.aws.table import Table
from shared.clock import now_ms
from shared.jobs.job import Model
from shared.jobs.latency import QueueLatencies
from shared.jobs.shards import ShardStore
from shared.jobs.store import JobStore
from shared.limits.quota import QuotaCounters, RemainingQuota
from shared.settings import SubmitSettings
from shared.warmup.store import WarmUpStore
from shared.webhooks.store import DeliveryStore


@dataclass(frozen=True)
class App:
    """The function `submit`. One instance serves all requests of an execution environment."""

    verifier: TokenVerifier
    admission: Admission
    services: Services

    def handle(self, event: http.Event, context: LambdaContext) -> http.Event:
        """Return the answer to an HTTP API event (payload 2.0). Never raise."""
        quotas: list[RemainingQuota] = []  # those that the request consumes; the answer to an error shows them, too
        response = http.answer(event, lambda accepted: self._respond(accepted, context, quotas))
        response["headers"] = {**render_quotas(quotas), **response["headers"]}
        return response

    def _respond(self, event: http.Event, context: LambdaContext, quotas: list[RemainingQuota]) -> http.Event:
        """Take a request through all steps. Every step raises an ApiError to refuse the request."""
        route, job_id = find_route(event["requestContext"]["http"]["method"], event["rawPath"])
        caller = Caller(client_id="", quotas=quotas)
        if route.scope is not PUBLIC:
            principal = self.verifier.authenticate(event["headers"].get("authorization"))
            principal.require(route.scope)
            caller = Caller(principal.client_id, quotas)
            self.admission.admit(caller)
        query = read_query(event, route.query) if route.query else None
        body, size = read_body(event, route.body) if route.body else (None, 0)
        request = Request(
            caller=caller,
            headers=event["headers"],
            remaining_ms=context.get_remaining_time_in_millis,
            job_id=job_id,
            query=query,
            body=body,
            body_bytes=size,
        )
        return route.handler(self.services, request).to_gateway()


def build(
    settings: SubmitSettings, clock: Callable[[], int] = now_ms, sleep: Callable[[float], None] = time.sleep
) -> App:
    """Return the application for `settings`. `clock` returns the time in milliseconds since the epoch."""
    table, blobs = Table(settings.jobs_table), Blobs(settings.bucket)
    # An answer must not wait long for quotas, warm-ups and latencies: the API can do without them.
    hasty_table = Table(settings.jobs_table, read_timeout=1, attempts=2)
    store = JobStore(table, blobs)
    clients = ClientStore(Table(settings.clients_table, read_timeout=3))
    admission = Admission(clients, store, QuotaCounters(hasty_table), settings.limits, clock)
    webhooks = Webhooks(
        get_client=admission.get_client,
        deliveries=DeliveryStore(table),
        queue=Queue(settings.webhooks_queue_url),
        base_url=settings.public_url,
        allow_loopback=settings.allow_loopback_webhooks,
        now=clock,
    )
    warm_ups, latencies = WarmUpStore(hasty_table), QueueLatencies(hasty_table)
    estimates = Estimates(
        warm_ups, latencies, settings.worker_version, assigns_to_warm_ups=settings.assign_jobs_to_warm_ups, now=clock
    )
    dispatcher = Dispatcher(Queue(settings.jobs_queue_url), Queue(settings.isolated_queue_url), estimates)
    model = Model(name=settings.model_name, version=settings.model_version)
    jobs = JobService(store, admission, dispatcher, webhooks, clock, sleep)
    services = Services(
        submission=Submission(store, blobs, jobs, admission, dispatcher, webhooks, model, clock, sleep),
        jobs=jobs,
        webhooks=webhooks,
        estimates=estimates,
        views=Views(store, ShardStore(table, blobs), blobs, estimates, webhooks, settings.public_url, clock),
        blobs=blobs,
        base_url=settings.public_url,
        now=clock,
        describe_api=Specification(settings.public_url).document,
    )
    verifier = TokenVerifier(issuer=settings.public_url, public_keys=settings.public_keys)
    return App(verifier, admission, services)
