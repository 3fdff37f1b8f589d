"""A real Kubernetes control plane on one machine, for the demo and the tests.

`find` looks at what there is and says which control plane it takes and why; `acquire` makes it run and answers with a
`ControlPlane`: a kubeconfig, the server's address, and the means to stop it. What was started ends with its last user,
also when that user is killed. Nothing is ever installed into a cluster that the user did not name.
"""

from __future__ import annotations

from moorage.controlplane.acquisition import acquire, find, kept, prepare, shared
from moorage.controlplane.cache import cache_root
from moorage.controlplane.choice import Choice, Decision, Facts, Source, choose
from moorage.controlplane.errors import ControlPlaneError, NothingWorks, Unavailable
from moorage.controlplane.instance import ControlPlane
from moorage.controlplane.probe import Options
from moorage.controlplane.progress import Progress

__all__ = [
    "Choice",
    "ControlPlane",
    "ControlPlaneError",
    "Decision",
    "Facts",
    "NothingWorks",
    "Options",
    "Progress",
    "Source",
    "Unavailable",
    "acquire",
    "cache_root",
    "choose",
    "find",
    "kept",
    "prepare",
    "shared",
]
