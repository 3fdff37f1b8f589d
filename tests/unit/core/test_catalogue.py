"""Catalogues of sizes and prices: what is wrong with one is told with its line; and which source is in force."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from moorage.api.hostingservice import Offering
from moorage.core.catalogue import MAX_LENGTH, CatalogueError, read_catalogue
from moorage.core.pricing import InForce, Told, in_force

NOW = datetime(2026, 11, 20, 12, 0, 0, 500, tzinfo=UTC)
GOOD = """\
asOf: 2026-11-01T00:00:00Z
offerings:
- name: small
  cpu: 1
  memory: 1Gi
  pricePerHour: 0.020
- {name: large, pricePerHour: "0.08", spotPricePerHour: "0.03"}
- name: taken
  cpu: 500m
  memory: 512Mi
  arch: arm64
  interruptible: true
"""


def test_a_catalogue_is_read_as_it_is_written() -> None:
    found = read_catalogue(GOOD)
    assert found.as_of == datetime(2026, 11, 1, tzinfo=UTC)
    small, large, taken = found.offerings
    assert (small.cpu, small.memory, small.price_per_hour) == (Decimal(1), Decimal(2**30), Decimal("0.020"))
    assert (large.cpu, large.price_per_hour, large.spot_price_per_hour) == (None, Decimal("0.08"), Decimal("0.03"))
    assert (taken.arch, taken.interruptible) == ("arm64", True)
    assert read_catalogue("offerings: []").as_of is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "it is empty"),
        ("just words", "line 1: it: Input should be a valid dictionary"),
        ("offerings: [", "it is not YAML"),
        ("a: b: c", "line 1, column 5: it is not YAML: mapping values are not allowed"),
        (GOOD.replace("1Gi", "1 Gi"), "line 5: offerings[0].memory: is not a quantity; write"),
        (GOOD.replace("0.020", "-0.02"), "line 6: offerings[0].pricePerHour: is not a price; write"),
        (GOOD.replace("0.020", ".nan"), "line 6: offerings[0].pricePerHour: is not a price"),
        (
            GOOD.replace("asOf: 2026-11-01T00:00:00Z", "asOf: yesterday"),
            "line 1: asOf: Input should be a valid datetime",
        ),
        (
            GOOD.replace("asOf: 2026-11-01T00:00:00Z", "asOf: 2026-11-01T00:00:00"),
            "line 1: asOf: Input should have time",
        ),
        (GOOD.replace("  arch", "  ark"), "line 11: offerings[2].ark: Extra inputs are not permitted"),
        (GOOD.replace("- name: taken", "- nam: taken"), "line 8: offerings[2].name: Field required"),
        (GOOD.replace("taken", "small"), "line 8: offering small is there twice"),
        (GOOD.replace("  memory: 1Gi", "  cpu: 2"), "line 5: a key is there twice"),
        ("? [a]\n: b", "line 1: a key is there twice, or is no plain word"),
        ("offerings:\n" + "- {name: a}\n" * 201, "line 1: offerings: Tuple should have at most 200 items"),
        ("[" * 30_000, "line 1: it is nested too deeply"),
        (
            "offerings:\n" + "- [1, 2, 3, 4, 5, 6]\n" * 700,
            "line 573: it is nested too deeply, or has more than 4000 values",
        ),
        ("x" * (MAX_LENGTH + 1), "it has 65537 characters; at most 65536 are allowed"),
        ("a: &a [x]\nb: [*a, *a]", "line 2: aliases are not read"),
        ("a: &a [*a]", "line 1: aliases are not read"),
        (
            "offerings:\n- {name: a, cpu: x}\n- {name: b, cpu: x}\n- {name: c, cpu: x}\n- {name: d, cpu: x}",
            "; and 1 more",
        ),
    ],
)
def test_what_is_wrong_is_told_with_the_line(text: str, says: str) -> None:
    with pytest.raises(CatalogueError) as error:
        read_catalogue(text)
    assert says in str(error.value)
    assert len(str(error.value)) < 600


def offering(name: str, price: str | None = None, **fields: Any) -> Offering:
    known = {} if price is None else {"price_per_hour": Decimal(price)}
    return Offering.model_construct(**{"name": name, "cpu": Decimal(2), "memory": Decimal(2**31), **known, **fields})


def sources(found: InForce) -> dict[str, tuple[Any, int, str | None]]:
    return {s.name: (s.at, s.offerings, s.message) for s in found.sources}


def test_what_is_declared_wins_over_the_catalogue_and_that_over_the_service() -> None:
    told = Told((offering("large", arch="arm64"), offering("other", "0.5"), offering("small", "9")), {}, NOW)
    found = in_force((offering("small", "0.01"),), None, read_catalogue(GOOD), told)
    large, other, small, taken = found.offerings
    assert (large.cpu, large.arch, large.price_per_hour) == (Decimal(2), "arm64", Decimal("0.08"))
    assert (other.price_per_hour, small.price_per_hour) == (Decimal("0.5"), Decimal("0.01"))
    assert (taken.cpu, taken.interruptible) == (Decimal("0.5"), True)
    assert sources(found) == {
        "Spec": (None, 1, None),
        "Catalogue": (datetime(2026, 11, 1, tzinfo=UTC), 2, None),
        "Service": (NOW.replace(microsecond=0), 1, None),
    }


def test_what_a_catalogue_adds_to_is_still_as_old_as_the_services_word() -> None:
    found = in_force(
        (), None, read_catalogue("offerings: [{name: a, pricePerHour: '1'}]"), Told((offering("a"),), {}, NOW)
    )
    assert sources(found)["Service"] == (NOW.replace(microsecond=0), 0, None)
    assert "Service" not in sources(in_force((offering("a"),), NOW, None, Told((offering("a"),), {}, NOW)))


def test_an_entry_without_size_needs_the_services_word() -> None:
    found = in_force((), None, read_catalogue("offerings: [{name: a, pricePerHour: '1'}]"), Told())
    assert found.offerings == ()
    assert sources(found)["Catalogue"][2] == (
        "offering a is ignored: the service tells none of that name, so it needs cpu and memory"
    )


@pytest.mark.parametrize("price", ["-0.1", "NaN", "Infinity"])
def test_a_price_that_is_none_is_never_used_and_is_told(price: str) -> None:
    told = Told((offering("a", price), offering("b", "0.2")), {"b": Decimal(price)}, NOW)
    found = in_force((), None, None, told)
    assert [(o.price_per_hour, o.spot_price_per_hour) for o in found.offerings] == [
        (None, None),
        (Decimal("0.2"), None),
    ]
    message = sources(found)["Service"][2]
    assert message is not None
    assert message.startswith(f"offering a: the price {price} is ignored")
    assert f"offering b: the price {price} is ignored" in message


def test_a_size_that_is_none_drops_the_offering() -> None:
    found = in_force(
        (), None, None, Told((offering("a", cpu=Decimal(-1)), offering("b", memory=Decimal("NaN"))), {}, NOW)
    )
    assert found.offerings == ()
    assert "offering a is ignored: its size is no number from 0 on" in (sources(found)["Service"][2] or "")


def test_spot_prices_and_why_there_are_none() -> None:
    told = Told(
        (offering("a", "0.2"),), {"a": Decimal("0.05"), "unknown": Decimal(1)}, NOW, "spot prices are not known"
    )
    found = in_force((), None, None, told)
    assert found.offerings[0].spot_price_per_hour == Decimal("0.05")
    assert sources(found)["Service"][2] == "spot prices are not known"
