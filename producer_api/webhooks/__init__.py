"""Webhook endpoints and deliveries as the API's callers see and change them."""
