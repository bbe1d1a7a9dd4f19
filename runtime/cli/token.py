"""`versions token …`: keys for the API."""

from __future__ import annotations

import importlib
from datetime import timedelta
from typing import Annotated, Any

import typer
from sqlalchemy import select
from sqlalchemy.orm import Session

from catalog.campaigns.spec import parse_duration
from catalog.models import ROLES, ApiKey, User
from runtime.cli import _context
from runtime.cli._output import BadOptionError, cell, console, errors_reported, moment, print_json, table

AsJson = Annotated[bool, typer.Option("--json", help="For a machine.")]
Name = Annotated[str, typer.Option(help="Whose key: the account's name.", show_default=False)]


class UserNotFoundError(ValueError):
    """There is no such account."""

    code = "not_found"


def register(app: typer.Typer) -> None:
    """Adds ``token`` and its commands."""
    group = typer.Typer(help="Keys for the API.", no_args_is_help=True)
    group.command()(create)
    group.command("list")(list_)
    group.command()(revoke)
    app.add_typer(group, name="token")


def create(
    name: Name,
    role: Annotated[str, typer.Option(help=f"One of: {', '.join(ROLES)}.")] = "user",
    key: Annotated[str, typer.Option(help="A name for this key, to revoke it by.")] = "cli",
    valid_for: Annotated[str | None, typer.Option(help='e.g. "30d"; default: for ever.', show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key, and the account if there is none. The token is shown this once and stored nowhere."""
    with errors_reported():
        if role not in ROLES:
            raise BadOptionError(f"--role {role}: one of {', '.join(ROLES)}")
        if not name.strip() or not key.strip() or len(name) > 200 or len(key) > 200:
            raise BadOptionError("--name and --key: 1 to 200 characters")
        lifetime = _lifetime(valid_for)
        accounts = _accounts()
        with _context.open_context() as context, context.database.transaction() as session:
            user = _find(session, name)
            if user is None:
                user = accounts.create_user(session, name, role=role)
            elif user.role != role:
                raise BadOptionError(f"--role {role}: the account {name!r} has the role {user.role!r}")
            token: str = accounts.create_api_key(session, user, key, valid_for=lifetime)
    if as_json:
        print_json({"name": name, "role": role, "key": key, "token": token})
    else:
        typer.echo(token)
        typer.echo(f"key {key!r} of {name} ({role}); keep it: it is not shown again", err=True)


def list_(as_json: AsJson = False) -> None:
    """List all keys, without their tokens."""
    with errors_reported(), _context.open_context() as context, context.database.transaction() as session:
        rows = session.execute(
            select(ApiKey, User).join(User, User.id == ApiKey.user_id).order_by(User.display_name, ApiKey.id)
        ).all()
    if as_json:
        return print_json(
            [
                {
                    "name": user.display_name,
                    "role": user.role,
                    "key": key.name,
                    "created_at": key.created_at,
                    "expires_at": key.expires_at,
                    "revoked_at": key.revoked_at,
                }
                for key, user in rows
            ]
        )
    result = table("account", "role", "key", "created", "expires", "revoked")
    for key, user in rows:
        result.add_row(
            cell(user.display_name),
            user.role,
            cell(key.name),
            moment(key.created_at),
            moment(key.expires_at),
            moment(key.revoked_at),
        )
    console().print(result)


def revoke(
    name: Name, key: Annotated[str, typer.Option(help="The key's name.")] = "cli", as_json: AsJson = False
) -> None:
    """Make the account's keys of this name invalid from now on."""
    with errors_reported():
        accounts = _accounts()
        with _context.open_context() as context, context.database.transaction() as session:
            if (user := _find(session, name)) is None:
                raise UserNotFoundError(f"there is no account {name!r}: see `versions token list`")
            count: int = accounts.revoke(session, user.id, key)
    if as_json:
        print_json({"name": name, "key": key, "revoked": count})
    else:
        typer.echo(f"{name}: {count} keys named {key!r} revoked")


def _find(session: Session, name: str) -> User | None:
    return session.scalar(select(User).where(User.display_name == name, User.deleted_at.is_(None)))


def _accounts() -> Any:
    return importlib.import_module("catalog.repositories.accounts")


def _lifetime(text: str | None) -> timedelta | None:
    if text is None:
        return None
    try:
        return timedelta(seconds=parse_duration(text))
    except ValueError:
        raise BadOptionError(f'--valid-for {text}: a duration like "12h" or "30d"') from None
