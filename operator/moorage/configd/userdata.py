"""What a server is booted with: where configd is, whom to trust, who it is, and a token that works once.

The program in it fetches the root CA without trusting anyone, keeps it only if it is the pinned one, and from then on
trusts that root alone. Every boot may run it: what was fetched is kept, and the agent joins with the key it kept.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Literal

from moorage.api.channel import split_server

MAX_BYTES = 2047
"""User-data stays below 2,048 bytes, the smallest limit among the services."""

Format = Literal["shell", "cloud-config"]

_URL = re.compile(r"^https://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?/?$")
_TOKEN = re.compile(r"^[A-Za-z0-9._~-]{16,200}$")
_PIN = re.compile(r"^[0-9a-f]{64}$")

# The agent runs in the same process: a second interpreter costs a guest as much as the first.
# Verify code 9 is "not yet valid": the clock is unset, so only times are not checked (flag 1<<21) on the next try.
_BOOT = """\
import hashlib,json,os,random,ssl,sys,time,zipimport
from urllib.request import urlopen
assert sys.version_info>=(3,8),"python >= 3.8 is needed"
os.umask(63)
S=os.environ.get("MOORAGE_STATE") or "/var/lib/moorage"
A=S+"/agent.pyz"
B=json.load(open(S+"/boot.json"))
E="-----END CERTIFICATE-----\\n"
def put(n,b):
 open(n+"~","wb").write(b);os.replace(n+"~",n)
def get(u,c):return urlopen(u,timeout=20,context=c).read()
n=f=0
while not os.path.exists(A):
 u=B["urls"][n%len(B["urls"])].rstrip("/")+"/v1/"
 try:
  p=get(u+"ca.pem",ssl._create_unverified_context()).decode()
  p=[x+E for x in p.split(E)[:-1]]
  p=[x for x in p if hashlib.sha256(ssl.PEM_cert_to_DER_cert(x)).hexdigest()==B["pin"]]
  if not p:raise ValueError("no CA with the pin")
  c=ssl.create_default_context(cadata=p[0]);c.verify_flags|=f
  a=get(u+"agent.pyz",c)
  put(S+"/ca.pem",p[0].encode());put(A,a)
 except Exception as e:
  if getattr(getattr(e,"reason",0),"verify_code",0)==9:f=1<<21
  print("moorage:",u,e,flush=True);n+=1
  time.sleep(min(30,2**min(n,5)/8)*random.uniform(.5,1))
sys.path[0]=A;sys.argv=[A,"boot"]
exec(zipimport.zipimporter(A).get_code("__main__"))
"""

_SHELL = """\
#!/bin/sh
umask 77
S=${MOORAGE_STATE:=/var/lib/moorage}
mkdir -p "$S"
export MOORAGE_STATE MOORAGE_BOOT="$0"
cat >"$S/boot.json" <<'E'
%(settings)s
E
cat >"$S/boot.py" <<'E'
%(program)sE
exec python3 "$S/boot.py"
"""

_CLOUD_CONFIG = """\
#cloud-config
write_files:
- path: /var/lib/moorage/boot.json
  permissions: '0600'
  content: '%(settings)s'
- path: /var/lib/moorage/boot.py
  content: |
%(program)s
runcmd:
- [env, MOORAGE_BOOT=/var/lib/cloud/, python3, /var/lib/moorage/boot.py]
"""


def render_user_data(urls: str | Sequence[str], pin: str, server: str, token: str, format: Format = "shell") -> str:
    """The user-data of one server, below 2,048 bytes, as a shell script or as cloud-config.

    `server` is `<namespace>/<VirtualServer uid>`, `pin` the hex SHA-256 of the root CA. Raises ValueError where an
    argument is not what it should be (the message does not show the token), or where the URLs are too many to fit.
    """
    addresses = [urls] if isinstance(urls, str) else list(urls)
    if not addresses or not all(_URL.match(url) for url in addresses):
        raise ValueError(f"not https://host[:port] addresses: {addresses!r}")
    if not _PIN.match(pin):
        raise ValueError("the pin is not a hex SHA-256")
    if split_server(server) is None:
        raise ValueError(f"not <namespace>/<uid>: {server!r}")
    if not _TOKEN.match(token):
        raise ValueError("the token is not 16 to 200 URL-safe characters")
    facts = {"urls": addresses, "pin": pin, "server": server, "token": token}
    settings = json.dumps(facts, separators=(",", ":"))
    if format == "shell":
        text = _SHELL % {"settings": settings, "program": _BOOT}
    else:
        program = "\n".join("    " + line for line in _BOOT.splitlines())
        text = _CLOUD_CONFIG % {"settings": settings, "program": program}
    if len(text.encode()) > MAX_BYTES:
        raise ValueError(f"user-data of {len(text.encode())} bytes: give fewer or shorter addresses")
    return text
