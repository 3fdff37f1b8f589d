"""`python -m moorage.hostd`: run one hostd until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import signal
import sys
from decimal import Decimal, InvalidOperation
from pathlib import Path

from moorage.hostd.app import is_loopback, run
from moorage.hostd.config import DEFAULT_IMAGES, Config, ConfigError, SimulateConfig, load_offerings


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="moorage.hostd", description="The embedded hosting service.")
    parser.add_argument("--data", type=Path, required=True, help="directory of its servers and its ledger")
    parser.add_argument("--name", default="local", help="its name (default: %(default)s)")
    parser.add_argument("--region", default="", help="its region")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port; 0 takes a free one (default: %(default)s)")
    parser.add_argument(
        "--offerings", default="defaults", help="YAML file with a list of offerings (default: built in)"
    )
    parser.add_argument("--images", default=",".join(DEFAULT_IMAGES), help="comma-separated (default: %(default)s)")
    parser.add_argument("--capacity", type=int, default=100, help="most servers; negative: any (default: %(default)s)")
    parser.add_argument(
        "--addresses", default="", help="comma-separated public addresses of the account (default: none)"
    )
    parser.add_argument("--price-factor", default="1", help="multiplies all prices (default: %(default)s)")
    token = parser.add_mutually_exclusive_group()
    token.add_argument(
        "--token-file",
        type=Path,
        help="file with the bearer token that every call must carry (default: one that is made, `token` in --data)",
    )
    token.add_argument("--no-token", action="store_true", help="serve every user of this machine, without a token")
    parser.add_argument(
        "--session-length",
        type=float,
        help="seconds of a session that the token has to be exchanged for (default: the token itself is taken)",
    )
    parser.add_argument("--certificate", type=Path, help="PEM certificate, to serve https")
    parser.add_argument("--key", type=Path, help="PEM key of the certificate")
    parser.add_argument("--ephemeral", action="store_true", help="all servers die with this process")
    parser.add_argument("--no-namespaces", action="store_true", help="servers are plain process trees")
    parser.add_argument("--simulate", action="store_true", help="only simulate servers")
    parser.add_argument("--boot-time", type=float, default=2.0, help="seconds a simulated boot takes")
    parser.add_argument("--verbose", action="store_true", help="log more")
    return parser


def _config(options: argparse.Namespace) -> Config:
    try:
        factor = Decimal(options.price_factor)
    except InvalidOperation:
        factor = Decimal(0)
    if not factor.is_finite() or factor <= 0:
        raise ConfigError("--price-factor must be a positive number")
    if options.boot_time < 0:
        raise ConfigError("--boot-time must not be negative")
    images = tuple(name for name in options.images.split(",") if name)
    if not images:
        raise ConfigError("--images names no image")
    if (options.certificate is None) != (options.key is None):
        raise ConfigError("--certificate and --key belong together")
    if options.session_length is not None and (options.no_token or not options.session_length > 0):
        raise ConfigError("--session-length must be positive, and needs a token")
    if options.no_token and not options.simulate and not is_loopback(options.host):
        raise ConfigError("--no-token serves everyone who reaches it: only on a loopback address")
    return Config(
        data=options.data,
        name=options.name,
        region=options.region,
        host=options.host,
        port=options.port,
        offerings=() if options.offerings == "defaults" else load_offerings(Path(options.offerings)),
        images=images,
        capacity=options.capacity if options.capacity >= 0 else None,
        addresses=tuple(address for address in options.addresses.split(",") if address),
        price_factor=factor,
        token=_token(options.token_file),
        own_token=options.token_file is None and not options.no_token,
        session_length=options.session_length,
        certificate=options.certificate,
        key=options.key,
        ephemeral=options.ephemeral,
        namespaces="off" if options.no_namespaces else "auto",
        simulate=SimulateConfig(boot_time=options.boot_time) if options.simulate else None,
    )


def _token(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        token = path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        raise ConfigError(f"cannot read the token in {path}") from None
    if not token:
        raise ConfigError(f"{path} holds no token")
    return token


async def _serve(config: Config) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with await run(config) as hostd:
        sys.stdout.write(json.dumps(hostd.announcement()) + "\n")
        sys.stdout.flush()
        await stop.wait()


def main(arguments: list[str] | None = None) -> int:
    """Run hostd; the exit code is 2 where it was told something it cannot do."""
    options = _arguments().parse_args(arguments)
    logging.basicConfig(level=logging.DEBUG if options.verbose else logging.INFO, format="%(levelname)s %(message)s")
    try:
        asyncio.run(_serve(_config(options)))
    except ConfigError as error:
        sys.stderr.write(f"hostd: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
