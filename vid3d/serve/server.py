"""Listens on an address until Ctrl-C or SIGTERM."""

from __future__ import annotations

import errno
import ipaddress
import socket

import python_multipart  # noqa: F401  # forms need it, and fastapi does not say so
import uvicorn
from fastapi import FastAPI

from vid3d.errors import UserError

GRACE_SECONDS = 5.0  # for requests that are under way at the end
MAX_CONNECTIONS = 1024  # open ones, most of which wait
SHORTEST_TOKEN = 16  # characters


def check_host(host: str, token: str) -> None:
    """Raises a UserError where others could reach the server without a good token."""
    if token and len(token) < SHORTEST_TOKEN:
        raise UserError(
            f"the token has {len(token)} characters, and {SHORTEST_TOKEN} are the least: "
            "python -c 'import secrets; print(secrets.token_urlsafe())' makes one"
        )
    if token and not token.isascii():
        raise UserError("the token has to be ASCII: it is sent in the head of a request")
    if not token and not is_loopback(host):
        raise UserError(
            f"--host={host} can be reached from other machines: add --token=TEXT, or set "
            "VID3D_TOKEN, which requests then have to bear"
        )


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 is any free one.

    Raises:
        UserError: the port is taken or not permitted, or the host is none of this machine's.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UserError(
                f"port {port} of {host} is taken: give another one with --port, or 0 for any"
            ) from None
        raise UserError(f"cannot listen on {host}, port {port}: {error.strerror}") from None


def url_of(listening: socket.socket) -> str:
    """The address of the page."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(app: FastAPI, listening: socket.socket) -> None:
    """Answers until Ctrl-C or SIGTERM; requests under way then have a few seconds to end."""
    config = uvicorn.Config(
        app,
        loop="asyncio",
        http="h11",
        ws="none",
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=int(GRACE_SECONDS),
    )
    try:
        uvicorn.Server(config).run(sockets=[listening])
    except KeyboardInterrupt:
        return  # the signal, raised again
