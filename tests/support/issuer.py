"""An OIDC issuer on a port of this machine: its configuration, its keys, and tokens of it."""

from __future__ import annotations

import time
from typing import Any

from aiohttp import web
from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

AUDIENCE = "imagemill"


class Issuer:
    """An issuer; `start` and `stop` it. `requests` counts those by path."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}/realms/images"
        self.keys = [self.rsa_key("first")]
        self.requests: dict[str, int] = {}
        self.configuration: dict[str, Any] = {
            "issuer": self.url,
            "jwks_uri": f"{self.url}/keys",
        }
        self._runner: web.AppRunner | None = None

    @staticmethod
    def rsa_key(key_id: str, bits: int = 2048) -> RSAKey:
        """Make a key that signs with RS256 and its relatives."""
        return RSAKey.generate_key(bits, {"kid": key_id, "use": "sig"})

    @staticmethod
    def ec_key(key_id: str) -> ECKey:
        """Make a key that signs with ES256."""
        return ECKey.generate_key("P-256", {"kid": key_id, "use": "sig"})

    @staticmethod
    def ed_key(key_id: str) -> OKPKey:
        """Make a key that signs with Ed25519."""
        return OKPKey.generate_key("Ed25519", {"kid": key_id, "use": "sig"})

    def token(
        self,
        key: Any = None,
        algorithm: str = "RS256",
        header: Any = None,
        registry: JWSRegistry | None = None,
        **claims: Any,
    ) -> str:
        """Sign a token, valid for five minutes unless claims say otherwise; None leaves one out."""
        key = key or self.keys[0]
        now = int(time.time())
        usual = {
            "iss": self.url, "aud": AUDIENCE, "sub": "ada", "iat": now, "exp": now + 300,
            "scope": "openid jobs:read",
        }  # fmt: skip
        merged = {name: value for name, value in (usual | claims).items() if value is not None}
        head = {"alg": algorithm, "kid": key.kid} | (header or {})
        head = {name: value for name, value in head.items() if value is not None}
        return jwt.encode(head, merged, key, [algorithm], registry)

    async def start(self) -> Issuer:
        """Answer over HTTP."""
        app = web.Application()
        path = "/realms/images"
        app.router.add_get(f"{path}/.well-known/openid-configuration", self._configuration)
        app.router.add_get(f"{path}/keys", self._keys)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()
        return self

    async def stop(self) -> None:
        """Be away; further calls do nothing."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def _count(self, request: web.Request) -> None:
        name = request.path.rpartition("/")[2]
        self.requests[name] = self.requests.get(name, 0) + 1

    async def _configuration(self, request: web.Request) -> web.Response:
        self._count(request)
        return web.json_response(self.configuration)

    async def _keys(self, request: web.Request) -> web.Response:
        self._count(request)
        return web.json_response({"keys": [key.as_dict(private=False) for key in self.keys]})
