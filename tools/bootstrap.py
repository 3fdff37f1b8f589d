"""Makes the virtual environment that everything else runs in: `python3 tools/bootstrap.py [VENV]`.

Runs on any Python 3.8 or newer with nothing installed. Each step says what it does; where nothing changed since the
last time, it does nothing. What is needed on the way (uv) goes into the user's cache, never into the system.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements" / "dev.txt"
UV_LOCK = ROOT / "requirements" / "uv.txt"
OLDEST = (3, 11)


class Problem(Exception):
    """Something is missing; the message says what to install."""


def say(text):
    """Tell what is done."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def cache():
    """The user's cache folder, as `moorage.controlplane.cache_root` has it."""
    own = os.environ.get("MOORAGE_CACHE")
    if own:
        return Path(own).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "moorage"


def run(argv, what):
    """Run a command; its output is shown only where it fails."""
    try:
        done = subprocess.run(
            [str(part) for part in argv], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        )
    except OSError as error:
        raise Problem("{} failed: {}".format(what, error))
    if done.returncode != 0:
        raise Problem("{} failed:\n{}".format(what, done.stdout.decode(errors="replace").strip()))


def answers(argv):
    """Whether a command runs and succeeds."""
    try:
        run(argv, "asking")
    except Problem:
        return False
    return True


def python():
    """A Python that is new enough: this one, or one on the PATH."""
    names = ["python3.13", "python3.12", "python3.11", "python3", "python"]
    for candidate in [sys.executable] + [shutil.which(name) for name in names]:
        if not candidate:
            continue
        if answers([candidate, "-c", "import sys; sys.exit(sys.version_info < {!r})".format(OLDEST)]):
            return candidate
    raise Problem("Python {}.{} or newer is needed: install it (sudo apt-get install python3)".format(*OLDEST))


def uv(interpreter):
    """uv: the installed one, or the locked one in the cache, which is put there first."""
    found = shutil.which("uv")
    # A version manager's shim may be there without the program.
    if found and answers([found, "--version"]):
        return found
    home = cache() / "tools" / "uv-{}".format(digest([UV_LOCK.read_bytes()]))
    program = home / "bin" / "uv"
    if not program.exists():
        say("installing uv into {}".format(home))
        fresh = home.with_name("{}.{}".format(home.name, os.getpid()))
        try:
            run([interpreter, "-m", "venv", fresh], "making a virtual environment (sudo apt-get install python3-venv)")
            pip = [fresh / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            run([*pip, "--require-hashes", "-r", UV_LOCK], "installing uv")
            # Published in one rename; where another process was faster, its result is as good.
            try:
                fresh.rename(home)
            except OSError:
                if not program.exists():
                    raise
        finally:
            shutil.rmtree(str(fresh), ignore_errors=True)
    return program


def digest(parts):
    """A short digest of all parts."""
    hasher = hashlib.sha256()
    for part in parts:
        hasher.update(hashlib.sha256(part).digest())
    return hasher.hexdigest()[:16]


def bootstrap(venv):
    """Bring the environment at `venv` to what the lock and pyproject.toml say."""
    stamp = venv / "moorage.stamp"
    wanted = digest([LOCK.read_bytes(), (ROOT / "pyproject.toml").read_bytes(), str(ROOT).encode()])
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    interpreter = python()
    tool = uv(interpreter)
    inside = venv / "bin" / "python"
    if not inside.exists():
        say("making the virtual environment {}".format(venv))
        run([tool, "venv", "--quiet", "--python", interpreter, venv], "making {}".format(venv))
    say("installing the locked requirements into {}".format(venv))
    # Compiled here, once: tests and the demo start programs by the hundred, and some shells forbid to keep bytecode.
    sync = [tool, "pip", "sync", "--quiet", "--compile-bytecode", "--python", inside, "--require-hashes", LOCK]
    run(sync, "installing the requirements")
    project = ["--no-deps", "--no-build-isolation", "--editable", ROOT]
    run([tool, "pip", "install", "--quiet", "--python", inside, *project], "installing the project")
    stamp.write_text(wanted)


def main():
    """The exit code: 0, or 1 with what is missing on standard error."""
    target = sys.argv[1] if len(sys.argv) > 1 else ".venv"
    try:
        bootstrap(ROOT / target)
    except Problem as problem:
        say(str(problem))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
