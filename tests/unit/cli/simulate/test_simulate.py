"""`moorage simulate` as it is run: the example, the drawings, and what is said of wrong input."""

from __future__ import annotations

import csv
import io
import json
import struct
import sys
import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from tests.support.examples import ROOT
from typer.testing import CliRunner

from moorage.cli.errors import CliError, Exit
from moorage.cli.main import app
from moorage.cli.simulate.drawing import to_svg
from moorage.cli.simulate.scene import Label, Scene, ticks

EXAMPLE = ROOT / "simulate"
POLICY = """
apiVersion: moorage.dev/v1alpha1
kind: HostingPolicy
metadata: {name: p}
spec:
  when:
    all:
    - {name: work, schedule: {from: "2020-01-01T00:00:00Z"}}
"""
SHOWN = """\
policy night-batch, batch
from 2026-03-27T13:00:00+01:00 to 2026-03-30T14:00:00+02:00
met for 1d (33.3 %), placed for 1d (33.3 %), cost 3.6087
"""
DRAWN = """\
night      ···········██████████····················██████████··················██████████··········
cheap      ···········███████████████···············████████████████············████████████████████
policy     ···········██████████····················██████████··················██████████··········
on anchor             ██████████                    ██████████                  ██████████
price                 ▅▅▅█▅▅▅▅▅▅                    ▆▆▆▆▆▆▆▆▆▆                  ▇▇▇▇▇▇▇▇▇▇            up to 0.22/h
                        |28 Mar                       |29 Mar                     |30 Mar
           █ met or placed there   · unmet
"""


def run(*arguments: str) -> str:
    """What it prints; its own errors are raised."""
    result = CliRunner().invoke(app, ["simulate", *arguments])
    if isinstance(result.exception, CliError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def example(*options: str) -> str:
    series = str(EXAMPLE / "prices.csv")
    return run("-f", str(EXAMPLE), "--series", series, "--time-zone", "Europe/Zurich", *options)


def test_the_example_shows_its_summary_its_changes_and_a_drawing() -> None:
    shown = example()
    assert shown.startswith(SHOWN)
    assert shown.endswith(DRAWN)
    changes = [line for line in shown.splitlines() if line.startswith("2026-")]
    assert len(changes) == 13
    assert changes[2].split()[:7] == ["2026-03-27T22:00:00+01:00", "2h40m", "Met", "anchor", "0.12/h", "0.32", "met:"]


def test_the_drawing_says_what_its_signs_mean_and_no_others(given: Any) -> None:
    span = ("--from", "2026-03-01T00:00:00Z", "--to", "2026-03-01T06:00:00Z")
    policy = given("p.yaml", POLICY.replace('schedule: {from: "2020-01-01T00:00:00Z"}', "approval: {}"))
    assert run("-f", policy, *span).splitlines()[-1] == "        ? unknown"
    assert run("-f", given("q.yaml", POLICY), *span).splitlines()[-1] == "        █ met"


def test_the_night_of_the_change_of_the_clocks_is_eight_hours_too() -> None:
    rows = list(csv.DictReader(io.StringIO(example("-o", "csv"))))
    night = next(row for row in rows if row["from"] == "2026-03-28T22:00:00+01:00")
    assert (night["to"], night["service"], night["cost"]) == ("2026-03-29T07:00:00+02:00", "anchor", "1.12")


def test_the_data_adds_up() -> None:
    data = json.loads(example("-o", "json"))
    assert data["placedSeconds"] == data["metSeconds"] == 86400
    assert abs(sum(float(span["cost"]) for span in data["spans"]) - float(data["cost"])) < 1e-3
    assert data["spans"][0]["conditions"]["cheap"]["value"] == "Unmet"
    assert "cost" in example("-o", "yaml")


def test_the_drawings_have_the_same_lanes_and_the_right_size(tmp_path: Path) -> None:
    svg, png = tmp_path / "out.svg", tmp_path / "out.PNG"
    example("--plot", str(svg))
    example("--plot", str(png))
    root = ET.fromstring(svg.read_text())
    texts = [e.text for e in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"night", "cheap", "policy", "on anchor", "price, up to 0.22/h"} <= set(texts)
    assert len(list(root.iter("{http://www.w3.org/2000/svg}rect"))) > 20
    header = png.read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", header[16:]) == (2 * int(root.get("width", "")), 2 * int(root.get("height", "")))


def test_a_text_in_a_drawing_is_escaped() -> None:
    svg = to_svg(Scene(10, 10, (Label(0, 0, "<script>\x1b"),)))
    assert "&lt;script&gt;\\x1b" in svg
    assert ET.fromstring(svg) is not None


def test_without_pillow_a_png_is_refused_before_anything_is_done(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(CliError, match="takes Pillow") as raised:
        example("--plot", str(tmp_path / "out.png"))
    assert "moorage[plot]" in raised.value.hint
    with pytest.raises(CliError, match=r"neither \.svg nor \.png"):
        example("--plot", "out.pdf")


@pytest.fixture
def given(tmp_path: Path) -> Any:
    """Files of these contents; answers their path."""

    def write(name: str, text: str) -> str:
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return write


def test_services_may_come_from_the_series_alone(given: Any) -> None:
    series = given("s.csv", "time,price.x.y,condition.work\n2026-03-01T00:00:00Z,0.5,no\n2026-03-01T02:00:00Z,,yes\n")
    data = json.loads(
        run("-f", given("p.yaml", POLICY), "--series", series, "--to", "2026-03-01T06:00:00Z", "-o", "json")
    )
    assert [(s["service"], s["cost"]) for s in data["spans"]] == [(None, "0"), ("x", "2")]


BOUNDED = """
apiVersion: moorage.dev/v1alpha1
kind: HostingPolicy
metadata: {name: p}
spec:
  when:
    all:
    - {name: work, schedule: {from: "2020-01-01T00:00:00Z"}}
  select: {spot: Allow, maxDataAge: 2h}
  failover: {when: {unreachableFor: 5m}, action: Rebuild}
---
apiVersion: moorage.dev/v1alpha1
kind: VirtualServerConfig
metadata: {name: c}
spec: {images: [{image: i}]}
---
apiVersion: moorage.dev/v1alpha1
kind: ServerGroup
metadata: {name: g, namespace: team}
spec:
  policyRef: {name: p}
  members: [{name: m, configRef: {name: c}, replicas: 2}]
  maxPricePerHour: "0.12"
  deletionPolicy: Retain
---
apiVersion: v1
kind: Namespace
metadata: {name: team, annotations: {moorage.dev/max-price-per-hour: "0.09"}}
---
apiVersion: moorage.dev/v1alpha1
kind: HostingService
metadata: {name: anchor}
spec:
  type: local
  endpoint: http://127.0.0.1:7101
  offerings:
  - {name: small, cpu: 2, memory: 4Gi, arch: amd64, pricePerHour: "0.10"}
"""
COURSE = """time,spotPrice.anchor.small
2026-03-01T00:00:00Z,0.06
2026-03-01T01:00:00Z,0.04
2026-03-01T03:00:00Z,0.04
"""


def test_a_group_is_placed_as_the_controller_would_and_what_is_left_out_is_said(given: Any) -> None:
    source = given("course.csv", COURSE)
    data = json.loads(run("-f", given("all.yaml", BOUNDED), "--series", source, "-o", "json"))
    assert [(s["service"], s["pricePerHour"]) for s in data["spans"]] == [(None, None), ("anchor", "0.08")]
    assert "PriceAboveCeiling" in data["spans"][0]["why"]
    assert [note.partition(":")[0] for note in data["notes"]] == [
        "the ceiling of the namespace is held against this group alone",
        "spec.failover is not simulated",
        "servers that are released run on (deletionPolicy",
    ]


def test_a_group_that_may_be_scaled_is_placed_where_the_most_of_it_fits(given: Any) -> None:
    course = "time,price.a.s,price.b.s,capacity.a,capacity.b\n2026-03-01T00:00:00Z,0.01,0.02,2,5\n"
    group = POLICY + BOUNDED[BOUNDED.index("---") : BOUNDED.index("  maxPricePerHour")].replace(", replicas: 2", "")
    files = given("all.yaml", group + "  scale: {member: m, replicas: 1, maxReplicas: 5}\n")
    options = ("--series", given("course.csv", course), "--to", "2026-03-01T01:00:00Z", "-o", "json")
    assert [s["service"] for s in json.loads(run("-f", files, *options))["spans"]] == ["b"]


def test_a_price_that_is_told_is_of_that_time(given: Any) -> None:
    course = "time,price.anchor.small,condition.work\n2026-03-01T00:00:00Z,0.01,no\n2026-03-01T03:00:00Z,,yes\n"
    source = given("course.csv", course + "2026-03-01T04:00:00Z,0.01,\n2026-03-01T05:00:00Z,0.01,\n")
    data = json.loads(run("-f", given("all.yaml", BOUNDED), "--series", source, "-o", "json"))
    assert [(s["verdict"], s["service"]) for s in data["spans"]] == [("Unmet", None), ("Met", None), ("Met", "anchor")]
    assert "DataTooOld" in data["spans"][1]["why"]


def test_prometheus_tells_a_condition(given: Any) -> None:
    values = [[1772323200 + 60 * n, str(n)] for n in range(10)]
    answer = {"status": "success", "data": {"resultType": "matrix", "result": [{"metric": {}, "values": values}]}}
    source = f"work>=5={given('a.json', json.dumps(answer))}"
    rows = run("-f", given("p.yaml", POLICY), "--series", source, "-o", "csv").splitlines()
    assert [row.split(",")[:3] for row in rows[1:]] == [
        ["2026-03-01T00:00:00Z", "2026-03-01T00:05:00Z", "Unmet"],
    ]


def test_without_a_series_the_times_are_options(given: Any) -> None:
    span = ("--from", "2026-03-01T00:00:00Z", "--to", "2026-03-01T06:00:00Z")
    assert "met for 6h (100.0 %), placed for 0s" in run("-f", given("p.yaml", POLICY), *span)
    with pytest.raises(CliError, match="it is not said which time is simulated"):
        run("-f", given("p.yaml", POLICY))
    with pytest.raises(CliError, match="before it begins"):
        run("-f", given("p.yaml", POLICY), *span[2:], "--from", "2026-03-02T00:00:00Z")
    with pytest.raises(CliError, match="is not a step"):
        run("-f", given("p.yaml", POLICY), *span, "--step", "0s")
    with pytest.raises(CliError, match="there is no time zone 'Mars'"):
        run("-f", given("p.yaml", POLICY), *span, "--time-zone", "Mars")


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("time,condition.worc\n2026-03-01T00:00:00Z,yes\n", r"no condition 'worc' \(did you mean work\?\)"),
        ("time,price.anchr.small\n2026-03-01T00:00:00Z,1\n", r"no HostingService 'anchr' \(did you mean anchor\?\)"),
        ("time,price.anchor.smal\n2026-03-01T00:00:00Z,1\n", r"no offering 'smal' \(did you mean small\?\)"),
    ],
)
def test_a_column_about_nothing_is_a_mistake(given: Any, table: str, said: str) -> None:
    files = ["-f", given("p.yaml", POLICY), "-f", str(EXAMPLE / "services.yaml")]
    with pytest.raises(CliError, match=said) as raised:
        run(*files, "--series", given("s.csv", table))
    assert raised.value.code is Exit.USAGE


def test_one_policy_and_every_configuration_of_the_group_are_needed(given: Any) -> None:
    with pytest.raises(CliError, match="a simulation is about one HostingPolicy; the files hold none"):
        run("-f", str(EXAMPLE / "services.yaml"))
    group = (EXAMPLE / "group.yaml").read_text().split("---")[1]
    with pytest.raises(CliError, match="member worker needs VirtualServerConfig worker, which no file holds"):
        run("-f", given("p.yaml", POLICY), "-f", given("g.yaml", group))


def test_marks_are_at_round_hours_of_the_wall_over_a_change_of_the_clocks() -> None:
    zone = ZoneInfo("Europe/Zurich")
    start, end = datetime(2026, 3, 28, 12, tzinfo=UTC), datetime(2026, 3, 29, 12, tzinfo=UTC)
    assert [text for _, text in ticks(start, end, zone)] == [
        "15:00",
        "18:00",
        "21:00",
        "00:00",
        "03:00",
        "06:00",
        "09:00",
        "12:00",
    ]
