"""The table of scopes: for each operation id, the scopes that a caller must have.

A route that is not in the table stops the API from starting, so that none is open by accident.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from producer_api.http.routing import Route
from schemas.access import Scope

Scopes = frozenset[Scope]

PUBLIC: Scopes = frozenset()
"""Answered without a key."""
_READ: Scopes = frozenset({Scope.JOBS_READ})
_WRITE: Scopes = frozenset({Scope.JOBS_WRITE})
_RESULTS: Scopes = frozenset({Scope.RESULTS_READ})
_MODELS: Scopes = frozenset({Scope.MODELS})
_WEBHOOKS: Scopes = frozenset({Scope.WEBHOOKS})
_ADMIN: Scopes = frozenset({Scope.ADMIN})

SCOPES: Mapping[str, Scopes] = {
    "post_v1_jobs": _WRITE,
    "put_v1_jobs_by_job_id": _WRITE,
    "get_v1_jobs": _READ,
    "get_v1_jobs_by_job_id": _READ,
    "get_v1_jobs_by_job_id_items_by_index_result": _RESULTS,
    "get_v1_jobs_by_job_id_items_by_index_input": _RESULTS,
    "get_v1_jobs_by_job_id_events": _READ,
    "post_v1_jobs_by_job_id_cancel": _WRITE,
    "post_v1_uploads": _WRITE,
    "post_v1_templates": _WRITE,
    "get_v1_templates": _READ,
    "get_v1_templates_by_name": _READ,
    "delete_v1_templates_by_name": _WRITE,
    "post_v1_webhooks_endpoints": _WEBHOOKS,
    "get_v1_webhooks_endpoints": _WEBHOOKS,
    "get_v1_webhooks_endpoints_by_endpoint_id": _WEBHOOKS,
    "patch_v1_webhooks_endpoints_by_endpoint_id": _WEBHOOKS,
    "delete_v1_webhooks_endpoints_by_endpoint_id": _WEBHOOKS,
    "get_v1_webhooks_endpoints_by_endpoint_id_secret": _WEBHOOKS,
    "post_v1_webhooks_endpoints_by_endpoint_id_secret_rotate": _WEBHOOKS,
    "post_v1_webhooks_endpoints_by_endpoint_id_test": _WEBHOOKS,
    "post_v1_webhooks_endpoints_by_endpoint_id_replay": _WEBHOOKS,
    "get_v1_webhooks_deliveries": _WEBHOOKS,
    "get_v1_webhooks_deliveries_by_delivery_id": _WEBHOOKS,
    "get_v1_webhooks_deliveries_by_delivery_id_attempts": _WEBHOOKS,
    "post_v1_webhooks_deliveries_by_delivery_id_replay": _WEBHOOKS,
    "get_v1_operations": _READ,
    "get_v1_models": _MODELS,
    "get_v1_stats": _READ,
    "get_v1_workers": _MODELS,
    "post_v1_keys": _ADMIN,
    "get_v1_keys": _ADMIN,
    "get_v1_keys_by_key_id": _ADMIN,
    "patch_v1_keys_by_key_id": _ADMIN,
    "delete_v1_keys_by_key_id": _ADMIN,
    "post_v1_keys_by_key_id_rotate": _ADMIN,
    # The signature in the URL is the permission: these handlers verify it.
    "get_files_by_key": PUBLIC,
    "put_files_by_key": PUBLIC,
    "get_healthz": PUBLIC,
    "get_readyz": PUBLIC,
    "get_health": PUBLIC,
    # Counts of all owners' jobs.
    "get_metrics": _ADMIN,
    "get_openapi_json": PUBLIC,
    "get_docs": PUBLIC,
    "get_docs_viewer_js": PUBLIC,
    # The console's page and scripts hold no data; they ask for a key and call /v1 with it.
    "get__slash": PUBLIC,
    "get_console_by_name": PUBLIC,
    # Dialects.
    "post_remove_background": _WRITE,
    "get_get_result": _READ,
    "post_api_process": _WRITE,
    "get_api_status_by_job_id": _READ,
    "post_predict": _WRITE,
    "get_result_by_task_id": _READ,
    "post_process_image": _WRITE,
    "post_process_image_slash": _WRITE,
    "get_task_status_by_task_id": _READ,
    "get_task_status_by_task_id_slash": _READ,
    "get_task_result_by_task_id": _RESULTS,
    "get_task_result_by_task_id_slash": _RESULTS,
    "get_processed_by_task_id_by_name": _RESULTS,
    "post_queue_submit": _WRITE,
    "get_queue_job_by_job_id": _READ,
    "get_queue_jobs": _READ,
    "get_queue_stats": _READ,
    "post_queue_job_by_job_id_cancel": _WRITE,
}


class ScopesMissing(Exception):
    """A route is not in the table of scopes: a defect of this version, found at its start."""


def scopes_of(routes: Iterable[Route]) -> dict[str, Scopes]:
    """Return the scopes of these routes by operation id.

    Raises:
        ScopesMissing: one is not in the table.
    """
    operations = [route.operation_id for route in routes]
    if missing := [operation for operation in operations if operation not in SCOPES]:
        raise ScopesMissing(
            f"no scopes are set for {', '.join(missing)}; add them to producer_api/access/scopes.py"
        )
    return {operation: SCOPES[operation] for operation in operations}
