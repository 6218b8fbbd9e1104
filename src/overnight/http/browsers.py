"""What browsers may do here and what they are told: no page of another site may use this service.

A service without keys trusts whoever reaches its address, and a browser beside it does so for any
page that it shows: by a form or a script, or under a name that its owner has made to point here
(docs/decisions/0046).
"""

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from overnight.errors import InvalidRequest, PermissionDenied
from overnight.http.service import HttpRequest, Service, base_url
from overnight.settings import Settings, is_loopback
from overnight.wire.headers import host_name

Header = tuple[bytes, bytes]

# These change nothing, and no other site can read their answers.
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN_SITES = frozenset({"same-origin", "none"})

_ON_ALL: tuple[Header, ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)
_ON_PAGES: tuple[Header, ...] = (
    (
        b"content-security-policy",
        b"default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
)
# Elsewhere browsers ignore it, with a complaint to whoever looks at their console.
_WHERE_TRUSTED: Header = (b"cross-origin-opener-policy", b"same-origin")
# Half a year, as long as nobody would serve the same name without TLS again.
_ONLY_TLS: Header = (b"strict-transport-security", b"max-age=15552000")


def refuse_other_hosts(request: HttpRequest, settings: Settings, *, is_open: bool) -> None:
    """Refuse a call that came under a name that is not this service's.

    Addresses and `localhost` cannot be made to point elsewhere; what else is allowed is said by the
    settings. Without `allowed_hosts` it matters only where no key is needed, at this machine.
    Raises: PermissionDenied; InvalidRequest when there is not exactly one host.
    """
    hosts = request.headers.getall("host", [])
    if not hosts and request.scope["http_version"] == "1.0":
        # Older than names, and than browsers that could be misled by one.
        return
    if len(hosts) != 1:
        raise InvalidRequest(f"host: sent {len(hosts)} times, must be sent once")
    name = host_name(hosts[0])
    if name is None:
        raise InvalidRequest("host: must be a host name or an address, and perhaps a port")
    if not settings.allowed_hosts and not (is_open and is_loopback(settings.host)):
        return
    if not _is_own(name, settings):
        raise PermissionDenied(
            f'host: "{name}" is not a name of this service; --allowed-hosts can add it'
        )


def refuse_other_sites(request: HttpRequest, service: Service) -> None:
    """Refuse a change that a browser asks for in the name of another site. Raises: PermissionDenied

    Browsers say whose page asks: by `sec-fetch-site` over TLS and at this machine, else by `origin`
    (the rules of Go's net/http.CrossOriginProtection, read 2026-11). Nobody else sends them.
    """
    if request.method in _SAFE_METHODS:
        return
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None:
        is_own = site in _OWN_SITES
    elif origin is not None:
        asked, reached = origin.partition("://")[2], base_url(request, service)
        is_own = asked == request.headers.get("host") or f"{reached}/".startswith(f"{origin}/")
    else:
        return
    if not is_own:
        raise PermissionDenied("A page of another site may not call this service from a browser")


def safety_headers(sent: Iterable[Header], *, is_tls: bool, host: bytes) -> list[Header]:
    """Give what an answer must say to browsers besides the headers that it has."""
    named = dict(sent)
    added = [header for header in _ON_ALL if header[0] not in named]
    is_here = is_loopback(host_name(host.decode("latin-1")) or "")
    if named.get(b"content-type", b"").startswith(b"text/html"):
        added += [header for header in _ON_PAGES if header[0] not in named]
        if is_tls or is_here:
            added.append(_WHERE_TRUSTED)
    # Browsers apply it to every port, so other services of the user's own machine would be cut off.
    if is_tls and not is_here:
        added.append(_ONLY_TLS)
    return added


def _is_own(name: str, settings: Settings) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        own = {settings.host, urlsplit(settings.public_url or "").hostname, *settings.allowed_hosts}
        return name in own or name == "localhost" or name.endswith(".localhost")
    return True
