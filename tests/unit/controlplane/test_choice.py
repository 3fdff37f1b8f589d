"""Which control plane is taken: one test for each way and for each reason why it is closed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from moorage.controlplane import ControlPlaneError, Facts, NothingWorks, Source, choose
from moorage.controlplane.choice import Binaries, nothing_works

COMPLETE = Binaries(Path("/bin/cp"), (), Path("/bin/cp/kube-controller-manager"), Path("/bin/cp/kubectl"))
NO_APISERVER = Binaries(Path("/bin/cp"), ("kube-apiserver",))
NOTHING = Facts(
    platform="linux-amd64",
    download_problem="the index cannot be reached",
    kind_problem="kind is not installed",
    go_problem="Go is not installed",
)
EVERYTHING = Facts(
    platform="linux-amd64",
    kept=Path("/cache/kept"),
    assets=COMPLETE,
    assets_named=True,
    cached=(COMPLETE,),
    download="v1.37.2",
    kind=Path("/bin/kind"),
    engine="docker",
    go=Path("/bin/go"),
    go_version="go1.26.8",
    build_target=Path("/cache/build"),
)
ORDER = [Source.KEPT, Source.ASSETS, Source.CACHE, Source.DOWNLOAD, Source.KIND, Source.BUILD]


def test_the_order_is_the_documented_one() -> None:
    assert [choice.source for choice in choose(EVERYTHING).candidates] == ORDER


@pytest.mark.parametrize("source", ORDER)
def test_each_way_alone_is_taken_and_says_why(source: Source) -> None:
    only = {
        Source.KEPT: replace(NOTHING, kept=Path("/cache/kept")),
        Source.ASSETS: replace(NOTHING, assets=COMPLETE, assets_named=True),
        Source.CACHE: replace(NOTHING, cached=(COMPLETE,)),
        Source.DOWNLOAD: replace(NOTHING, download="v1.37.2"),
        Source.KIND: replace(NOTHING, kind=Path("/bin/kind"), engine="podman"),
        Source.BUILD: replace(NOTHING, go=Path("/bin/go"), go_version="go1.26.8", go_problem=""),
    }[source]
    best = choose(only).best
    assert best.source is source
    assert best.reason
    assert f"{best}" == f"control plane: {source.value} ({best.reason})"


def test_a_named_context_is_taken_before_anything_else() -> None:
    facts = replace(EVERYTHING, context="mine", contexts=("mine", "other"), kubeconfig=Path("/k"))
    decision = choose(facts)
    assert [(choice.source, choice.context, choice.path) for choice in decision.candidates] == [
        (Source.CONTEXT, "mine", Path("/k"))
    ]


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        (
            replace(EVERYTHING, context="no", contexts=("a", "b"), kubeconfig=Path("/k")),
            "no context 'no' in /k .* a, b",
        ),
        (replace(EVERYTHING, context="no", kubeconfig=None), "no context 'no' in any kubeconfig .* none"),
    ],
)
def test_a_named_context_that_is_not_there_is_an_error_and_nothing_else_is_tried(facts: Facts, message: str) -> None:
    with pytest.raises(ControlPlaneError, match=message):
        choose(facts)


def test_a_kubeconfig_alone_is_never_enough() -> None:
    facts = replace(NOTHING, kubeconfig=Path("/k"), contexts=("production",))
    assert choose(facts).candidates == ()


def test_incomplete_assets_are_passed_over_with_what_they_lack() -> None:
    decision = choose(replace(EVERYTHING, kept=None, assets=NO_APISERVER))
    assert decision.best.source is Source.CACHE
    assert decision.closed[Source.ASSETS] == "KUBEBUILDER_ASSETS /bin/cp has no kube-apiserver"


def test_envtests_default_folder_is_named_as_such() -> None:
    decision = choose(replace(NOTHING, assets=NO_APISERVER))
    assert decision.closed[Source.ASSETS].startswith("envtest's default folder")


def test_the_first_complete_folder_of_the_cache_is_taken() -> None:
    other = replace(COMPLETE, directory=Path("/other"))
    assert choose(replace(NOTHING, cached=(NO_APISERVER, other, COMPLETE))).best.binaries == other


def test_kind_needs_an_engine_that_answers() -> None:
    decision = choose(replace(NOTHING, kind=Path("/bin/kind"), kind_problem="neither docker nor podman answers"))
    assert decision.closed[Source.KIND] == "neither docker nor podman answers"


def test_an_old_go_does_not_build() -> None:
    decision = choose(replace(NOTHING, go=Path("/bin/go"), go_problem="/bin/go is go1.20, 1.26 is needed"))
    assert decision.closed[Source.BUILD] == "/bin/go is go1.20, 1.26 is needed"


def test_where_nothing_works_the_message_says_what_is_missing_and_what_to_install() -> None:
    with pytest.raises(NothingWorks) as caught:
        _ = choose(NOTHING).best
    message = f"{caught.value}"
    for problem in (
        "the index cannot be reached",
        "kind is not installed",
        "Go is not installed",
        "KUBEBUILDER_ASSETS",
    ):
        assert problem in message
    for remedy in ("install Go 1.26", "setup-envtest", "--context"):
        assert remedy in message


def test_the_reasons_are_in_the_order_of_the_ways() -> None:
    lines = nothing_works(dict.fromkeys(reversed(Source), "closed")).splitlines()
    assert [line.split()[0] for line in lines[1 : 1 + len(Source)]] == [source.value for source in Source]


def test_a_way_not_looked_at_is_closed() -> None:
    decision = choose(Facts(platform="linux-amd64"))
    assert decision.candidates == ()
    assert decision.closed[Source.DOWNLOAD] == decision.closed[Source.KIND] == "not looked at"
