"""The options of ``lookalike serve`` -> checked values, or a sentence that says what was expected."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from urllib.parse import quote, urlsplit

from lookalike.client.http import bytes_of
from lookalike.errors import UsageError, first_line

#: The shortest token, in characters: what is shorter can be guessed.
MIN_TOKEN = 16


def check_token(token: str) -> None:
    """Refuse a token that can be guessed.

    Parameters
    ----------
    token : str
        Of ``--token`` or ``LOOKALIKE_TOKEN``.

    Raises
    ------
    UsageError
        If it is shorter than :data:`MIN_TOKEN`.
    """
    if not token:
        raise UsageError("the token is empty; leave it out, or give at least 16 characters: openssl rand -hex 16")
    if len(token.strip()) < MIN_TOKEN:
        raise UsageError(
            f"the token has {len(token.strip())} characters and could be guessed; give at least {MIN_TOKEN}"
        )


def check_certificate(certificate: Path, key: Path) -> None:
    """Refuse files that TLS can't use.

    Parameters
    ----------
    certificate, key : Path
        PEM files.

    Raises
    ------
    UsageError
        If one isn't there, or they aren't a certificate and its key.
    """
    import ssl

    for file in (certificate, key):
        if not Path(file).is_file():
            raise UsageError(f"{file}: no such file; --certificate and --key are a PEM certificate and its key")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except OSError as e:
        raise UsageError(
            f"{certificate}, {key}: not a PEM certificate and its key: {e.strerror or first_line(e)}"
        ) from e


def checked_prefix(prefix: str) -> str:
    """Return the path before the service's own, with a slash at its begin and none at its end.

    Parameters
    ----------
    prefix : str
        As typed.

    Returns
    -------
    str
        Empty where there is none.

    Raises
    ------
    UsageError
        If an address can't hold it as it is.
    """
    path = prefix.strip("/")
    if not path:
        return ""
    if path != quote(bytes_of(path), safe="/-._~") or any(part in ("", ".", "..") for part in path.split("/")):
        raise UsageError(f"--prefix {prefix}: expected a path of plain letters, digits and -._~ such as /photos")
    return f"/{path}"


def check_proxy(proxy: str) -> None:
    """Refuse what isn't the address or network of a proxy.

    Parameters
    ----------
    proxy : str
        Such as ``127.0.0.1`` or ``10.0.0.0/8``.

    Raises
    ------
    UsageError
        If it is neither.
    """
    try:
        ipaddress.ip_network(proxy)
    except ValueError as e:
        raise UsageError(f"--proxy {proxy}: not the address or network of a proxy, such as 127.0.0.1: {e}") from e


def checked_name(name: str) -> str:
    """Return a host name as the Host header is compared with it.

    Parameters
    ----------
    name : str
        As typed.

    Returns
    -------
    str
        Lower case, without a dot at its end.

    Raises
    ------
    UsageError
        If it is more than a name.
    """
    host = name.strip().lower().removesuffix(".")
    if not host or any(c in host for c in "/@?#, ") or (":" in host and not (host[0] == "[" and host[-1] == "]")):
        raise UsageError(f"--host-name {name}: expected a host name without https:// and port: photos.example")
    return host


def checked_origin(origin: str) -> str:
    """Return a site as browsers name it in the Origin header.

    Parameters
    ----------
    origin : str
        As typed.

    Returns
    -------
    str
        Such as ``https://shop.example``.

    Raises
    ------
    UsageError
        If it is no ``http`` or ``https`` origin, or has a path.
    """
    site = origin.strip().rstrip("/").lower()
    try:
        parts = urlsplit(site)
        whole = (
            parts.scheme in ("http", "https") and parts.hostname and not (parts.path or parts.query or parts.fragment)
        )
    except ValueError:
        whole = None
    if not whole:
        raise UsageError(f"--origin {origin}: expected the origin of a site: https://shop.example")
    return site
