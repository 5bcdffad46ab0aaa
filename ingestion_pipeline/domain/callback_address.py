"""Where a callback may go: URLs that can be called, and addresses that must not be.

What belongs here: judging a URL's text and an address. What does not: resolving a name (`adapters.callback`). An
endpoint's URL is a tenant's text, and the request comes from inside the operator's network: what is private there
(databases, metadata of the cloud, this machine) is not to be reached by it.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

from ingestion_pipeline.errors import ConfigurationError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

MAX_URL = 2048
# Letters, digits, hyphens and underscores in labels; or an IPv6 address, which has colons and no zone.
_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?|[0-9a-f:.]*:[0-9a-f:.]*")

# The special-purpose registries of IANA for IPv4 and IPv6, as far as they are not for everybody to reach.
_REFUSED: tuple[tuple[Network, str], ...] = tuple(
    (ip_network(network), why)
    for why, networks in {
        "unspecified": ("0.0.0.0/8", "::/128"),
        "loopback": ("127.0.0.0/8", "::1/128"),
        "private": ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"),
        "link-local": ("169.254.0.0/16", "fe80::/10"),
        "of a carrier's own network": ("100.64.0.0/10",),
        "multicast": ("224.0.0.0/4", "ff00::/8"),
        "a service of the cloud's platform": ("168.63.129.16/32",),
        "an IPv4 address inside an IPv6 one": ("::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "2002::/16"),
        "reserved": (
            "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
            "240.0.0.0/4", "2001::/23", "2001:db8::/32", "3fff::/20",
        ),
    }.items()
    for network in networks
)  # fmt: skip
# Of IPv6 only this is given to anybody.
_PUBLIC_IPV6 = IPv6Network("2000::/3")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A URL in the parts that a request needs.

    Attributes:
        host: In lower case, without the brackets of an IPv6 address.
        path: With its query; "/" at least.
        authority: Host and port as the header Host has them.
    """

    https: bool
    host: str
    port: int
    path: str
    authority: str


@dataclass(frozen=True, slots=True)
class AllowList:
    """What may be called although it is not public: networks by address, hosts by name."""

    hosts: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()

    @classmethod
    def parse(cls, text: str | None) -> "AllowList":
        """Hosts and networks, separated by commas.

        Raises:
            ConfigurationError: One is neither.
        """
        hosts, networks = set(), []
        for word in (part.strip().lower() for part in (text or "").split(",")):
            if not word:
                continue
            try:
                networks.append(ip_network(word))
            except ValueError:
                if not _NAME.fullmatch(word) or re.fullmatch(r"[0-9.]+", word):
                    raise ConfigurationError(
                        f"INGESTION_CALLBACK_ALLOWED names '{word}', which is neither a host nor a network.",
                        hint="Write hosts and networks with commas between: hooks.example,10.1.2.0/24.",
                    ) from None
                hosts.add(word)
        return cls(frozenset(hosts), tuple(networks))

    def has(self, host: str, address: Address) -> bool:
        return host in self.hosts or any(address in network for network in self.networks)


def target_of(url: str) -> Target:
    """The parts of a URL that can be called.

    Raises:
        ConfigurationError: It cannot; the message does not repeat it, for it may have a secret.
    """
    if len(url) > MAX_URL or not all("!" <= letter <= "~" for letter in url) or "\\" in url:
        raise _unusable(
            f"it must be at most {MAX_URL:,} plain characters without spaces", "Write umlauts as xn--… and %…"
        )
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        raise _unusable("host or port cannot be read", "Write https://host/path.") from None
    https = parts.scheme == "https"
    if not https and parts.scheme != "http":
        raise _unusable("it must begin with https:// or http://", "Write https://host/path.")
    if "@" in parts.netloc:
        raise _unusable("it has a user or password", "Receivers know us by the signature; leave them out.")
    if parts.fragment:
        raise _unusable("it has a fragment (#)", "Leave it out: it is never sent.")
    if not _NAME.fullmatch(host):
        raise _unusable("its host cannot be the name of one", "Write https://host/path.")
    port = port if port is not None else (443 if https else 80)
    if port not in (80, 443) and port < 1024:
        raise _unusable(f"port {port} belongs to another service", "Use 443, 80, or a port from 1024 on.")
    shown = f"[{host}]" if ":" in host else host
    return Target(
        https=https,
        host=host,
        port=port,
        path=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
        authority=shown if port == (443 if https else 80) else f"{shown}:{port}",
    )


def refusal(host: str, addresses: Iterable[str], allowed: AllowList) -> str | None:
    """Why a name must not be called: one of its addresses is not public. None if every one may be."""
    for text in addresses:
        try:
            address = ip_address(text)
        except ValueError:
            return f"{host} has an address that cannot be read"
        kind = _kind(address)
        if kind and not allowed.has(host, address):
            return f"{host} has the address {address}, which is {kind}"
    return None


def _kind(address: Address) -> str | None:
    """What an address is, if it is not everybody's."""
    named = next((why for network, why in _REFUSED if address in network), None)
    if named is None and isinstance(address, IPv6Address) and address not in _PUBLIC_IPV6:
        return "reserved"
    return named


def _unusable(why: str, hint: str) -> ConfigurationError:
    return ConfigurationError(f"The URL cannot be called: {why}.", hint=hint)
