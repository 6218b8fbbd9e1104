"""Every setting of the service, as one table: flag, environment, overnight.toml, default.

The class below is the table. Validation, `--help`, `overnight config show` and
docs/reference/settings.md are all made from it.
"""

import ipaddress
import re
import tomllib
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import urlsplit

import msgspec

from overnight.errors import ConfigInvalid
from overnight.parsing import read_toml
from overnight.setting import ENV_PREFIX, Setting, Spec, converted, near, row, shown
from overnight.tenancy import MAX_LIMIT

CONFIG_FILE = Path("overnight.toml")
# Read by our clients, and where the file is: they are no settings.
OTHER_VARIABLES = frozenset(
    {
        "OVERNIGHT_ADMIN_KEY",
        "OVERNIGHT_BASE_URL",
        "OVERNIGHT_CONFIG",
        "OVERNIGHT_PROGRESS",
        "OVERNIGHT_WORKSPACE",
    }
)
MAX_PROBLEMS = 20
# A table of the file that the simulator reads itself.
SIMULATOR_TABLE = "simulator"
# Tables of the file that `overnight.fleet` reads.
ROUTING_TABLES = ("backends", "routes")
_DAY_S = 86_400

PrefixCaching = Literal["auto", "marked", "automatic", "shared", "none"]
Cutting = Literal["auto", "on", "off"]

# Where each value came from: a flag, a variable, a line of the file, or "default".
Origins = Mapping[str, str]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of one service; made by `load`."""

    host: Annotated[str, Spec(about="Address to listen on.")] = "127.0.0.1"
    port: Annotated[
        int, Spec(about="Port to listen on; 0 takes a free one.", low=0, high=65_535)
    ] = 8484
    tls_cert: Annotated[
        Path | None,
        Spec(
            about="Certificate in PEM, with those of its issuers behind it, to serve HTTPS "
            "instead of HTTP. Read again when it changes."
        ),
    ] = None
    tls_key: Annotated[
        Path | None, Spec(about="Private key of the certificate in PEM; may be the same file.")
    ] = None
    tls_key_password: Annotated[
        str | None, Spec(about="Password of an encrypted private key.", secret=True)
    ] = None
    allowed_hosts: Annotated[
        tuple[str, ...],
        Spec(
            about="Names under which clients may call, besides addresses, localhost, host and the "
            "host of public_url. Without it any name will do, unless no key is needed and only "
            "this machine reaches the address.",
            form="hosts",
        ),
    ] = ()
    max_connections: Annotated[
        int,
        Spec(
            about="Connections of clients at a time; idle ones give way to new ones.",
            unit="connections",
            low=1,
            high=1_000_000,
        ),
    ] = 2_048
    client_timeout_s: Annotated[
        float,
        Spec(
            about="Time a client has to send the head of a request; then how long its body may "
            "be slower than client_min_bytes_per_s, or its reading of an answer.",
            unit="seconds",
            low=0.1,
            high=3_600,
        ),
    ] = 60.0
    client_min_bytes_per_s: Annotated[
        float,
        Spec(
            about="Speed below which a client that sends a body or reads an answer is cut off.",
            unit="bytes per second",
            low=1,
            high=1_000_000_000,
        ),
    ] = 500.0
    data: Annotated[Path, Spec(about="Folder of the database and the objects.")] = Path(
        "overnight-data"
    )
    database_url: Annotated[
        str | None,
        Spec(about="PostgreSQL to use instead of SQLite in the data folder.", form="database"),
    ] = None
    backend: Annotated[
        str,
        Spec(
            about="What answers: simulator, or the URL of a server that speaks /v1/messages; "
            "several URLs, with commas between them, share the requests.",
            form="backend",
        ),
    ] = "simulator"
    routing: Annotated[
        Path | None,
        Spec(
            about="File with tables [backends.NAME] and [[routes]]: which models go to which "
            "backends. In overnight.toml they do the same. Instead of --backend and --gguf."
        ),
    ] = None
    gguf: Annotated[
        tuple[str, ...],
        Spec(
            about="Models to run on this machine with llama.cpp, each `path` or `name=path` of "
            "a GGUF file. Needs overnight[llama].",
            form="ggufs",
        ),
    ] = ()
    llama_slots: Annotated[
        int | None,
        Spec(
            about="Requests that llama.cpp answers at a time, for each model; fewer share long "
            "beginnings of prompts better. Without it 2, with a GPU 8.",
            unit="requests",
            low=1,
            high=256,
        ),
    ] = None
    llama_context_tokens: Annotated[
        int | None,
        Spec(
            about="Longest prompt and answer together that llama.cpp takes. Without it what the "
            "model was trained for, at most 16,384, and what fits the memory.",
            unit="tokens",
            low=64,
            high=10_000_000,
        ),
    ] = None
    llama_threads: Annotated[
        int | None,
        Spec(
            about="Threads of llama.cpp. Without it one for each physical core.",
            unit="threads",
            low=1,
            high=1_024,
        ),
    ] = None
    llama_gpu_layers: Annotated[
        int | None,
        Spec(
            about="Layers of a model that llama.cpp puts on the GPU. Without it as many as fit.",
            unit="layers",
            low=0,
            high=10_000,
        ),
    ] = None
    llama_cache_mib: Annotated[
        int | None,
        Spec(
            about="Memory in which llama.cpp keeps prompts that have left their slot. Without "
            "it a quarter of what the model leaves, at most 8,192.",
            unit="MiB",
            low=0,
            high=1_048_576,
        ),
    ] = None
    backend_api_key: Annotated[
        str | None,
        Spec(
            about="Key sent to the backend. ANTHROPIC_API_KEY counts too when the backend is "
            "at anthropic.com.",
            secret=True,
        ),
    ] = None
    concurrency: Annotated[
        int,
        Spec(
            about="Requests sent to the backend at a time, to each URL; fewer while it ails.",
            unit="requests",
            low=1,
            high=4_096,
        ),
    ] = 64
    requests_per_minute: Annotated[
        int | None,
        Spec(
            about="Rate limit of the backend; what its answers state is learned without it.",
            unit="requests",
            low=1,
            high=1_000_000_000,
        ),
    ] = None
    input_tokens_per_minute: Annotated[
        int | None,
        Spec(
            about="Rate limit of the backend for prompt tokens that no cache holds.",
            unit="tokens",
            low=1,
            high=1_000_000_000,
        ),
    ] = None
    output_tokens_per_minute: Annotated[
        int | None,
        Spec(
            about="Rate limit of the backend for tokens of answers.",
            unit="tokens",
            low=1,
            high=1_000_000_000,
        ),
    ] = None
    cut_stragglers: Annotated[
        Cutting,
        Spec(
            about="Whether a call that takes far longer than all others is given up and sent "
            "again, at most 1 in 100: auto only where a repeat costs nothing, on models of "
            "this machine."
        ),
    ] = "auto"
    max_requests_per_batch: Annotated[
        int, Spec(about="Largest batch accepted.", unit="requests", low=1, high=100_000)
    ] = 10_000
    max_batch_bytes: Annotated[
        int,
        Spec(
            about="Largest body of a create call, decoded.",
            unit="bytes",
            low=1_024,
            high=268_435_456,
        ),
    ] = 268_435_456
    max_message_bytes: Annotated[
        int,
        Spec(about="Largest body of any other call.", unit="bytes", low=1_024, high=268_435_456),
    ] = 33_554_432
    max_requests_per_minute: Annotated[
        int,
        Spec(
            about="Calls of batch endpoints that a workspace may make each minute to one process, "
            "unless it has a limit of its own; 0 is no limit.",
            unit="requests",
            low=0,
            high=MAX_LIMIT,
        ),
    ] = 0
    max_queued_requests: Annotated[
        int,
        Spec(
            about="Requests without a result that a workspace may have in its batches, unless it "
            "has a limit of its own; 0 is no limit.",
            unit="requests",
            low=0,
            high=MAX_LIMIT,
        ),
    ] = 0
    max_body_bytes_in_flight: Annotated[
        int,
        Spec(
            about="Bytes of creates that a workspace may be sending to one process at a time, "
            "unless it has a limit of its own; 0 is no limit.",
            unit="bytes",
            low=0,
            high=MAX_LIMIT,
        ),
    ] = 0
    max_uploads: Annotated[
        int,
        Spec(
            about="Creates that a workspace may be sending to one process at a time, unless it "
            "has a limit of its own; 0 is no limit.",
            unit="uploads",
            low=0,
            high=MAX_LIMIT,
        ),
    ] = 0
    max_context_tokens: Annotated[
        int,
        Spec(
            about="Longest prompt; a longer one is an errored result.",
            unit="tokens",
            low=1,
            high=100_000_000,
        ),
    ] = 200_000
    processing_window_s: Annotated[
        int,
        Spec(
            about="Time a batch has; requests without a result then expire.",
            unit="seconds",
            low=1,
            high=29 * _DAY_S,
        ),
    ] = _DAY_S
    retention_s: Annotated[
        int,
        Spec(
            about="How long after its creation a batch's results can be read.",
            unit="seconds",
            low=1,
            high=3_650 * _DAY_S,
        ),
    ] = 29 * _DAY_S
    max_attempts: Annotated[
        int,
        Spec(about="Tries of one request before it is errored.", unit="attempts", low=1, high=100),
    ] = 5
    request_timeout_s: Annotated[
        float,
        Spec(about="Time the backend has for one answer.", unit="seconds", low=0.1, high=_DAY_S),
    ] = 600.0
    connect_timeout_s: Annotated[
        float,
        Spec(
            about="Time to reach the backend before the attempt counts as unreachable.",
            unit="seconds",
            low=0.01,
            high=600,
        ),
    ] = 5.0
    first_byte_timeout_s: Annotated[
        float | None,
        Spec(
            about="Time until the backend's answer begins; without it request_timeout_s holds.",
            unit="seconds",
            low=0.1,
            high=_DAY_S,
        ),
    ] = None
    idle_timeout_s: Annotated[
        float,
        Spec(
            about="Silence allowed within an answer that has begun.",
            unit="seconds",
            low=0.1,
            high=_DAY_S,
        ),
    ] = 120.0
    prefix_caching: Annotated[
        PrefixCaching,
        Spec(
            about="What the backend at a URL does with prompts that begin alike: keeps what "
            "cache_control marks (auto, marked), keeps all (automatic), computes them once even "
            "when sent together (shared), or nothing."
        ),
    ] = "auto"
    workspace_weights: Annotated[
        tuple[str, ...],
        Spec(
            about="Shares of workspaces while several have requests waiting, each "
            "`workspace=weight`, by name or id; who is not named has weight 1.",
            form="weights",
        ),
    ] = ()
    drain_timeout_s: Annotated[
        float,
        Spec(
            about="Time that running requests get when the service stops.",
            unit="seconds",
            low=0,
            high=3_600,
        ),
    ] = 30.0
    lease_s: Annotated[
        float,
        Spec(
            about="How long a worker holds a shard without a sign of life.",
            unit="seconds",
            low=0.1,
            high=3_600,
        ),
    ] = 15.0
    shard_requests: Annotated[
        int, Spec(about="Requests in one shard.", unit="requests", low=1, high=5_000)
    ] = 500
    sweep_interval_s: Annotated[
        float,
        Spec(
            about="How often due work is looked for: expiry, archiving, lost leases.",
            unit="seconds",
            low=0.01,
            high=3_600,
        ),
    ] = 0.5
    worker: Annotated[bool, Spec(about="Dispatch requests in this process.")] = True
    public_url: Annotated[
        str | None,
        Spec(
            about="Where clients reach this service; results_url starts with it. "
            "Without it the host of each call is used.",
            form="url",
        ),
    ] = None
    api_keys: Annotated[
        tuple[str, ...],
        Spec(
            about="Keys that may call the service, each `key` or `workspace=key`, beside those "
            "of `overnight keys`; without any key all may. Keys of the workspace `admin` may "
            "administer.",
            form="keys",
            secret=True,
        ),
    ] = ()
    server_secret: Annotated[
        str | None,
        Spec(
            about="Secret under which keys are hashed, and from which those are derived that sign "
            "webhooks. Without it one is made in the data folder. All processes of a service need "
            "the same.",
            form="secret",
            secret=True,
        ),
    ] = None
    revoke_lost_keys: Annotated[
        bool,
        Spec(about="Revoke the keys that were hashed under another secret, instead of stopping."),
    ] = False
    open: Annotated[
        bool, Spec(about="Allow an address others can reach although no key is set.")
    ] = False
    metrics: Annotated[
        Literal["off", "key", "open"],
        Spec(
            about="Who may read GET /metrics: nobody, keys with role admin (everyone where no key "
            "is needed), or whoever reaches the address."
        ),
    ] = "key"
    webhooks_allow: Annotated[
        tuple[str, ...],
        Spec(
            about="Networks that webhooks may be sent to although they are not public, as "
            "CIDR: 127.0.0.0/8. There http will do.",
            form="networks",
        ),
    ] = ()
    webhooks_timeout_s: Annotated[
        float,
        Spec(
            about="Time a receiver has to answer a webhook, connecting included.",
            unit="seconds",
            low=0.1,
            high=60,
        ),
    ] = 10.0
    webhooks_disable_after_s: Annotated[
        int,
        Spec(
            about="How long every delivery to a webhook endpoint must have failed until it is "
            "disabled.",
            unit="seconds",
            low=1,
            high=365 * _DAY_S,
        ),
    ] = 2 * _DAY_S
    webhooks_log_s: Annotated[
        int,
        Spec(
            about="How long events and the log of their deliveries are kept.",
            unit="seconds",
            low=_DAY_S,
            high=3_650 * _DAY_S,
        ),
    ] = 30 * _DAY_S
    audit_log_s: Annotated[
        int,
        Spec(
            about="How long acts of administration stay in the audit log.",
            unit="seconds",
            low=_DAY_S,
            high=36_500 * _DAY_S,
        ),
    ] = 400 * _DAY_S
    live_counts: Annotated[
        bool,
        Spec(about="Count results on the wire while a batch runs; the real API does not."),
    ] = False
    cancel_ended: Annotated[
        Literal["refuse", "return"],
        Spec(about="Answer to the cancel of an ended batch: an error, or the batch."),
    ] = "refuse"
    over_budget: Annotated[
        Literal["canceled", "expired"],
        Spec(about="What requests end as that were not sent because a budget is used up."),
    ] = "canceled"
    unknown_params: Annotated[
        Literal["refuse", "forward"],
        Spec(about="What becomes of a request with a parameter the API does not know."),
    ] = "refuse"
    price_book: Annotated[
        str,
        Spec(
            about="Prices by which batches are charged: published-2026, vendor, "
            "vendor-2026-11-22, or the path of a .toml file.",
            form="book",
        ),
    ] = "published-2026"
    auto_cache: Annotated[
        bool,
        Spec(
            about="Set cache breakpoints in requests that have none, where that is cheaper by "
            "the price book. The header overnight-auto-cache decides for one batch."
        ),
    ] = False
    simulator_script: Annotated[
        Path | None,
        Spec(
            about="File that tells the simulator what to answer and when to fail. "
            "The table `[simulator]` of overnight.toml does the same."
        ),
    ] = None
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Spec(about="Least serious line to log.")
    ] = "warning"


def load(
    flags: Mapping[str, object], environ: Mapping[str, str], config_path: Path | None
) -> tuple[Settings, Origins]:
    """Give the settings in force and where each came from.

    `flags` maps setting names to text or values; None counts as not given. Without
    `config_path` the file is OVERNIGHT_CONFIG, or `overnight.toml` here when there is one.

    Raises: ConfigInvalid with one line per problem, at most 20.
    """
    problems: list[str] = []
    values: dict[str, object] = {}
    origins: dict[str, str] = {name: "default" for name in TABLE}
    for given in (
        *_from_file(config_path or _config_path(environ), problems),
        *_from_environment(environ, problems),
        *_from_flags(flags),
    ):
        try:
            values[given.setting.name] = converted(given.setting, given.value, given.folder)
            origins[given.setting.name] = given.origin
        except ValueError as error:
            problems.append(f"{given.shown}: {error}")
    if problems:
        raise _config_invalid(problems)
    settings = Settings(**typing.cast(dict[str, Any], values))
    key = environ.get("ANTHROPIC_API_KEY")
    urls = settings.backend.split(",")
    if settings.backend_api_key is None and key and all(map(is_anthropic, urls)):
        settings = msgspec.structs.replace(settings, backend_api_key=key)
        origins["backend_api_key"] = "ANTHROPIC_API_KEY"
    _refuse_two_backends(settings)
    _refuse_half_of_tls(settings)
    return settings, origins


def is_anthropic(url: str) -> bool:
    """Tell whether a URL is of Claude's own API."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return False
    return host == "anthropic.com" or host.endswith(".anthropic.com")


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


class _Given(NamedTuple):
    setting: Setting
    value: object
    origin: str
    # Place and value as an error names them; a secret's value stays out.
    shown: str
    # What a relative path is relative to; None: where the process runs.
    folder: Path | None = None


def _table() -> Mapping[str, Setting]:
    hints = typing.get_type_hints(Settings, include_extras=True)
    defaults = msgspec.structs.asdict(Settings())
    return {name: row(name, hints[name], defaults[name]) for name in Settings.__struct_fields__}


TABLE: Mapping[str, Setting] = _table()


def _config_path(environ: Mapping[str, str]) -> Path | None:
    if named := environ.get("OVERNIGHT_CONFIG"):
        return Path(named)
    return CONFIG_FILE if CONFIG_FILE.is_file() else None


def _from_file(path: Path | None, problems: list[str]) -> Iterator[_Given]:
    if path is None:
        return
    text = _read(path)
    try:
        document = read_toml(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigInvalid(
            f"{path}{_toml_place(str(error), text)}",
            hint="the file holds lines of `name = value`; texts stand in quotes",
        ) from None
    for name, value in document.items():
        line = _line_of(name, text)
        if name == SIMULATOR_TABLE and "simulator_script" not in document:
            script = TABLE["simulator_script"]
            yield _Given(script, path.name, f"{path}:{line}", f"{path}:{line}", path.parent)
        elif name in ROUTING_TABLES and "routing" not in document:
            routing = TABLE["routing"]
            yield _Given(routing, path.name, f"{path}:{line}", f"{path}:{line}", path.parent)
        elif name in TABLE:
            written = f"{path}:{line}: {name} = {_toml_text(shown(TABLE[name], value))}"
            yield _Given(TABLE[name], value, f"{path}:{line}", written, path.parent)
        else:
            problems.append(f"{path}:{line}: {name}: unknown setting{near(name, TABLE)}")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise ConfigInvalid(f"{path}: {reason}", hint="name a file with --config") from None


def _from_environment(environ: Mapping[str, str], problems: list[str]) -> Iterator[_Given]:
    variables = {setting.variable: setting for setting in TABLE.values()}
    for name in sorted(environ):
        value = environ[name]
        if not name.startswith(ENV_PREFIX) or name in OTHER_VARIABLES or not value:
            continue
        if name in variables:
            setting = variables[name]
            yield _Given(setting, value, name, f"{name}={shown(setting, value)}")
        else:
            problems.append(f"{name}: unknown variable{_near_variable(name)}")


def _near_variable(name: str) -> str:
    # Without the prefix: every variable begins alike.
    names = [setting.upper() for setting in TABLE]
    return near(name.removeprefix(ENV_PREFIX), names, prefix=ENV_PREFIX)


def _from_flags(flags: Mapping[str, object]) -> Iterator[_Given]:
    for name, value in flags.items():
        if value is not None:
            flag = TABLE[name].flag or name
            yield _Given(TABLE[name], value, flag, f"{flag} {shown(TABLE[name], value)}")


def _refuse_two_backends(settings: Settings) -> None:
    if settings.routing and (settings.gguf or settings.backend != "simulator"):
        raise ConfigInvalid(
            f"routing {settings.routing} and {'gguf' if settings.gguf else 'backend'}: only one of "
            "them can say who answers",
            hint="write the backend into the file, as a table [backends.NAME]",
        )
    if settings.gguf and settings.backend != "simulator":
        raise ConfigInvalid(
            f"backend {settings.backend} and gguf: only one of them can answer",
            hint="leave out --backend to run the model here, or --gguf to send requests there",
        )


def _refuse_half_of_tls(settings: Settings) -> None:
    if (settings.tls_cert is None) != (settings.tls_key is None):
        given, missing = ("tls_cert", "tls_key") if settings.tls_cert else ("tls_key", "tls_cert")
        raise ConfigInvalid(
            f"{given} without {missing}: HTTPS needs both",
            hint="when one file holds both, name it twice",
        )


def _config_invalid(problems: list[str]) -> ConfigInvalid:
    listed = problems[:MAX_PROBLEMS]
    if len(problems) > MAX_PROBLEMS:
        listed.append(f"and {len(problems) - MAX_PROBLEMS} more problems")
    return ConfigInvalid("\n".join(listed), hint="overnight serve --help lists every setting")


def _toml_place(message: str, text: str) -> str:
    # tomllib of 3.11 to 3.13 says the place only inside its message.
    found = re.search(r" \(at (?:line (\d+), column (\d+)|end of document)\)$", message)
    if found is None:
        return f": {message}"
    place = f":{found[1]}:{found[2]}" if found[1] else f":{text.count(chr(10)) + 1}"
    return f"{place}: {message[: found.start()]}"


def _line_of(name: str, text: str) -> int:
    """Give the line that sets a top-level key, 1 when it cannot be told."""
    key = re.compile(rf"""\s*(?:\[+\s*)?["']?{re.escape(name)}["']?\s*[=.\]]""")
    lines = enumerate(text.splitlines(), start=1)
    return next((number for number, line in lines if key.match(line)), 1)


def _toml_text(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)
