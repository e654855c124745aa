"""The hub itself: who am I, metadata checks, health and metrics, the style of its pages, the documentation site."""

from __future__ import annotations

from starlette.responses import RedirectResponse, Response

from ecg_hub.server.auth import token_needed
from ecg_hub.server.calls import Call, Route, answer_json
from ecg_hub.server.naming import KINDS, check_path, too_large
from ecg_hub.server.pages import MAX_CARD, STYLE
from ecg_hub.server.routes_files import INDEX, site_file
from ecg_hub.utils.yaml import CardError, metadata, split_card

MAX_UNKNOWN = 16_000  # characters of metadata that are checked for callers without a token: up to 0.3 s of a processor
# The administrator's own pages: their search reads other pages of the site, their theme remembers light or dark.
DOCS_POLICY = (
    "default-src 'self' 'unsafe-inline' data:; connect-src 'self'; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)


def whoami(call: Call) -> Response:
    """GET /api/whoami-v2."""
    if not call.caller.authenticated:
        raise token_needed("be known")
    role = "write" if call.caller.write else "read"
    names = {repo.namespace for kind in KINDS for repo in call.hub.repos.all(kind)} | {call.hub.options.namespace}
    orgs = [{"type": "org", "id": name, "name": name, "fullname": name, "roleInOrg": role} for name in sorted(names)]
    access = {"displayName": call.author, "role": role}
    return answer_json(
        {
            "type": "user",
            "id": call.author,
            "name": call.author,
            "fullname": call.author,
            "isPro": False,
            "orgs": orgs,
            "auth": {"type": "access_token", "accessToken": access},
        }
    )


def validate_yaml(call: Call) -> Response:
    """POST /api/validate-yaml: whether the metadata of a README.md can be read."""
    content = str(call.body.get("content", ""))
    if len(content) > MAX_CARD:
        raise too_large(f"A README.md with more than {MAX_CARD:,} characters is not checked.")
    # Half a second of a processor for the longest; the public hub's client asks without a token, so not refused.
    if not call.caller.authenticated and len(split_card(content)[0]) > MAX_UNKNOWN:
        text = f"Metadata of more than {MAX_UNKNOWN:,} characters are not checked without a token."
        return answer_json({"errors": [], "warnings": [{"message": text}]})
    try:
        metadata(content)
    except CardError as error:
        # ModelCard.validate takes a 400 for a card that is wrong, any other status for a hub that is.
        return answer_json({"errors": [{"message": str(error)}], "warnings": []}, 400)
    return answer_json({"errors": [], "warnings": []})


def health(call: Call) -> Response:
    """GET /healthz: that the hub runs and its folder can be read."""
    # A full disk is an error here, so that whoever watches learns of it before uploads fail.
    call.hub.disk.check_room(0)
    return Response(b"ok\n", media_type="text/plain")


def metrics(call: Call) -> Response:
    """GET /metrics: counts for a monitoring system, as Prometheus reads them."""
    # By token and not by address: behind a proxy of the same machine everybody comes from loopback.
    if not call.caller.authenticated:
        raise token_needed("read the hub's metrics")
    hub = call.hub
    counts = {kind: sum(1 for _ in hub.repos.all(kind)) for kind in KINDS}
    text = hub.metrics.text(hub.disk.root, hub.disk.reserve, counts)
    return Response(text, headers={"Cache-Control": "no-store"}, media_type="text/plain; version=0.0.4")


def style(call: Call) -> Response:
    """GET /static/hub.css."""
    return Response(STYLE.encode(), headers={"Cache-Control": "max-age=3600"}, media_type="text/css")


def docs(call: Call) -> Response:
    """GET /docs/[...]: the documentation site that the administrator built."""
    folder = call.hub.options.docs
    assert folder is not None  # else the address means a repository
    raw = call.request.scope.get("raw_path", b"").decode("ascii", "replace")
    # Relative links of the front page count from the folder, which an address without the slash does not name.
    if len(call.address.tail) == 1 and not raw.endswith("/"):
        return RedirectResponse(f"{call.base}/docs/")
    return site_file(folder, check_path("/".join(call.address.tail[1:]) or INDEX), DOCS_POLICY)


ROUTES: dict[tuple[str, str, str], Route] = {
    ("site", "GET", "api/whoami-v2"): Route(whoami, write=None),
    # ModelCard.validate sends no token.
    ("site", "POST", "api/validate-yaml"): Route(validate_yaml, write=None, body="json"),
    ("site", "GET", "healthz"): Route(health, write=None),
    ("site", "GET", "metrics"): Route(metrics, write=None),
    ("site", "GET", "static/hub.css"): Route(style, write=None),
    # Public like the project itself: who has no token yet reads here how to use one.
    ("site", "GET", "docs"): Route(docs, write=None),
}
