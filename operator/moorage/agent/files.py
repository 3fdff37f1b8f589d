"""Writing the files of a configuration, whole or not at all, and never outside the guest's root."""

from __future__ import annotations

import grp
import os
import pwd
from typing import Any, Dict, Tuple

from .store import write_atomically


class FileError(Exception):
    """A file cannot be written; the message names it and says why, without its content."""


def locate(root: str, path: str) -> str:
    """The real path of `path` below `root` ("": the whole system). Raises FileError where it would lead outside."""
    if not path.startswith("/") or "\0" in path:
        raise FileError("%r: not an absolute path" % path)
    if ".." in path.split("/") or path.endswith("/"):
        raise FileError("%s: not a plain path of a file" % path)
    if not root:
        return path
    base = os.path.realpath(root)
    inside = os.path.join(base, path.lstrip("/"))
    parent = os.path.realpath(os.path.dirname(inside))
    if parent != base and not parent.startswith(base.rstrip("/") + "/"):
        raise FileError("%s: a symbolic link leads outside of the root" % path)
    return os.path.join(parent, os.path.basename(inside))


def owner_ids(owner: str) -> Tuple[int, int]:
    """The user's and group's numbers of `user`, `user:group`. Raises FileError where one is unknown."""
    user, _, group = owner.partition(":")
    try:
        entry = None if user.isdigit() else pwd.getpwnam(user)
        uid = int(user) if entry is None else entry.pw_uid
        if group:
            gid = int(group) if group.isdigit() else grp.getgrnam(group).gr_gid
        else:
            gid = uid if entry is None else entry.pw_gid
    except KeyError:
        raise FileError("unknown owner %r" % owner) from None
    return uid, gid


def write_file(root: str, spec: Dict[str, Any]) -> bool:
    """Write one file whose content is known; False where it was like that already. Raises FileError.

    The owner is set only by root: another user can write for itself alone.
    """
    path = str(spec["path"])
    target = locate(root, path)
    data = str(spec["content"]).encode()
    mode = int(str(spec.get("mode", "0644")), 8)
    try:
        owner = owner_ids(str(spec.get("owner", "root"))) if os.geteuid() == 0 else (-1, -1)
        if _is_already(target, data, mode, owner):
            return False
        os.makedirs(os.path.dirname(target), mode=0o755, exist_ok=True)
        if os.path.isdir(target):
            raise FileError("%s: is a directory" % path)
        _replace(target, data, mode, owner)
    except OSError as error:
        raise FileError("%s: %s" % (path, error.strerror)) from None
    except FileError as problem:
        raise FileError(str(problem) if str(problem).startswith(path) else "%s: %s" % (path, problem)) from None
    return True


def _replace(target: str, data: bytes, mode: int, owner: Tuple[int, int]) -> None:
    if owner == (-1, -1) or owner == (0, 0):
        write_atomically(target, data, mode)
        return
    # The owner is set before the file is in its place, so that nobody sees it with another one.
    staged = target + ".moorage-new"
    write_atomically(staged, data, 0o600)
    try:
        os.chown(staged, owner[0], owner[1])
        os.chmod(staged, mode)
        os.replace(staged, target)
    except BaseException:
        os.unlink(staged)
        raise


def _is_already(target: str, data: bytes, mode: int, owner: Tuple[int, int]) -> bool:
    try:
        found = os.lstat(target)
        if found.st_mode != (0o100000 | mode) or found.st_size != len(data):
            return False
        if owner != (-1, -1) and (found.st_uid, found.st_gid) != owner:
            return False
        with open(target, "rb") as source:
            return source.read() == data
    except OSError:
        return False
