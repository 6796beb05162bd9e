"""`/v1/webhooks`: endpoints and deliveries."""

from __future__ import annotations

from producer_api.routes.webhooks import deliveries, endpoints

ROUTES = (*endpoints.ROUTES, *deliveries.ROUTES)
