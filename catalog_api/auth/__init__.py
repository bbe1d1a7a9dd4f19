"""Who is asking, and what they may do. Reads are public; these dependencies guard the rest."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.concurrency import run_in_threadpool

from catalog.models import ROLES
from catalog.repositories import accounts
from catalog_api.deps import ServicesDep
from catalog_api.problems import ApiError

bearer = HTTPBearer(
    auto_error=False,
    scheme_name="api key",
    description="A key made by `versions token create`, sent as `Authorization: Bearer …`.",
)


@dataclass(frozen=True, slots=True)
class Principal:
    """The authenticated caller."""

    user_id: uuid.UUID
    name: str
    role: str

    def may(self, role: str) -> bool:
        """Whether the caller has this role or a higher one."""
        return ROLES.index(self.role) >= ROLES.index(role)


def _unauthorised(detail: str) -> ApiError:
    return ApiError(401, "unauthorised", detail, headers={"WWW-Authenticate": 'Bearer realm="versions"'})


async def authenticate(
    request: Request,
    services: ServicesDep,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
) -> Principal:
    """The caller. Raises ApiError 401."""
    if credentials is None or not credentials.credentials:
        raise _unauthorised("send an API key as `Authorization: Bearer …`")
    token = credentials.credentials

    def find() -> Principal | None:
        with services.database.transaction() as session:
            user = accounts.find_by_token(session, token)
            return Principal(user.id, user.display_name, user.role) if user else None

    principal = await run_in_threadpool(find)
    if principal is None:
        raise _unauthorised("this API key is unknown, expired or revoked")
    return principal


def require(role: str) -> Callable[..., Coroutine[Any, Any, Principal]]:
    """A dependency that lets in who has this role or a higher one."""

    async def check(principal: Annotated[Principal, Depends(authenticate)]) -> Principal:
        if not principal.may(role):
            raise ApiError(403, "forbidden", f"this needs the role {role}; yours is {principal.role}")
        return principal

    return check


ContributorDep = Annotated[Principal, Depends(require("contributor"))]
ModeratorDep = Annotated[Principal, Depends(require("moderator"))]
OperatorDep = Annotated[Principal, Depends(require("operator"))]
