"""CPU time of placing a group and of evaluating a policy, without any I/O: `python bench/placement.py --help`.

Prints the median of 7 rounds and the spread. The budget for 1,000 services of 10 offerings each is 100 ms a placement.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal

from moorage.api.hostingpolicy import HostingPolicySpec, HostingPolicyStatus
from moorage.api.hostingservice import Offering
from moorage.api.selection import Select
from moorage.api.virtualserverconfig import VirtualServerConfigSpec
from moorage.core.placement import MemberRequest, PlacementRequest, place
from moorage.core.policy import evaluate_policy
from moorage.core.services import ServiceView

ROUNDS = 7
NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def service(number: int, offerings: int) -> ServiceView:
    """A service like any other, a little dearer than the one before; every third one is too full."""
    sizes = tuple(
        Offering(
            name=f"size-{i}",
            cpu=Decimal(1 + i),
            memory=Decimal((1 + i) * 2**30),
            price_per_hour=Decimal(1 + i) / 100 + Decimal(number) / 100_000,
        )
        for i in range(offerings)
    )
    room = 3 if number % 3 == 0 else 50
    labels = {"jurisdiction": "eu" if number % 2 else "us", "tier": "production"}
    return ServiceView(f"service-{number:04}", labels=labels, offerings=sizes, limit=100, used=100 - room, room=room)


def policy() -> HostingPolicySpec:
    """Two conditions, one requirement and three preferences."""
    return HostingPolicySpec.from_dict(
        {
            "when": {
                "all": [
                    {
                        "name": "hours",
                        "schedule": {"cron": "0 8 * * MON-FRI", "duration": "10h", "timeZone": "Europe/Zurich"},
                    },
                    {
                        "name": "cheap",
                        "service": {"expression": "services.exists(s, s.available && s.minPrice < 0.009)"},
                    },
                ]
            },
            "select": {
                "requirements": [{"key": "tier", "operator": "In", "values": ["production"]}],
                "preferences": [{"by": by, "weight": w} for by, w in (("Price", 60), ("Capacity", 30), ("Spread", 10))],
            },
        }
    )


def measure(what: str, work: Callable[[], object]) -> float:
    """CPU milliseconds of ``work``, printed as the median and the spread of the rounds."""
    work()
    rounds = []
    for _ in range(ROUNDS):
        start = time.process_time()
        work()
        rounds.append(1000 * (time.process_time() - start))
    median = statistics.median(rounds)
    print(f"{what:<44} {median:8.2f} ms CPU (from {min(rounds):.2f} to {max(rounds):.2f})")
    return median


def fixed() -> None:
    """The fixed piece of work that the other benchmarks tell the state of the machine by."""
    measure("(a sum over a million squares)", lambda: sum(i * i for i in range(1_000_000)))


def main(count: int, offerings: int) -> None:
    """Measure with ``count`` services of ``offerings`` offerings each."""
    services = [service(n, offerings) for n in range(count)]
    spec = policy()
    db = VirtualServerConfigSpec.from_dict({"images": [{"image": "debian-12"}], "size": {"cpu": 4, "memory": "8Gi"}})
    web = VirtualServerConfigSpec.from_dict({"images": [{"image": "debian-12"}], "size": {"cpu": 1, "memory": "512Mi"}})
    request = PlacementRequest("default", {}, (MemberRequest("db", 1, db), MemberRequest("web", 9, web)))
    print(f"{count} services of {offerings} offerings each")
    fixed()
    plain = measure("place a group of two members", lambda: place(request, spec.select, services))
    measure(
        "evaluate a policy of two conditions", lambda: evaluate_policy(spec, services, HostingPolicyStatus(), NOW, {})
    )
    asked = Select.from_dict(
        {
            **spec.select.to_dict(),
            "expressions": [
                {"name": "half-empty", "expression": "service.capacity.used * 2 <= service.capacity.limit"}
            ],
        }
    )
    dearer = measure("place with an expression over each service", lambda: place(request, asked, services))
    print(f"{'  an evaluation of it':<44} {1000 * (dearer - plain) / count:8.2f} us CPU more for each service")
    loop = {"name": "sizes", "expression": "service.offerings.exists(o, o.cpu > 100.0) || service.available"}
    over = Select.from_dict({**spec.select.to_dict(), "expressions": [loop]})
    dearer = measure("place with one that loops over offerings", lambda: place(request, over, services))
    print(f"{'  an evaluation of it':<44} {1000 * (dearer - plain) / count:8.2f} us CPU more for each service")
    few = services[:3]
    measure("place the same among 3 services", lambda: place(request, spec.select, few))
    measure("evaluate the same over 3 services", lambda: evaluate_policy(spec, few, HostingPolicyStatus(), NOW, {}))
    fixed()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="CPU time of placing a group and of evaluating a policy.")
    parser.add_argument("--services", type=int, default=1000)
    parser.add_argument("--offerings", type=int, default=10)
    given = parser.parse_args()
    main(given.services, given.offerings)
