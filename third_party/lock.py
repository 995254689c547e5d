"""Pins what the extras need on the Python that runs this, and writes down every licence.

    python3.12 third_party/lock.py            # resolve afresh, then write both files
    python3.12 third_party/lock.py --licences # keep the versions, read the licences again

It makes an empty virtual environment, installs the extras that the set-up scripts use from
the package index that pip is configured for, and writes `locks/py312.txt` (a pip constraints file)
and this minor's part of `licences.json`. What `cuda` and `tpu` add is resolved from the index's
metadata and not installed, and PyTorch, which only the parity tests need, is pinned by name: both
are several GB.
"""

import json
import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"
LOCK = ROOT / "third_party" / "locks" / f"py{MINOR.replace('.', '')}.txt"
LICENCES = ROOT / "third_party" / "licences.json"
EXTRAS = "train,eval,gemini,dev"
ACCELERATORS = "cuda,tpu"
TORCH = "2.13.0"
TORCH_LICENCE = (
    "Apache-2.0 AND Apache-2.0 WITH LLVM-exception AND BSD-2-Clause AND BSD-3-Clause "
    "AND BSL-1.0 AND MIT"
)

HEAD = f"""\
# Versions that work together on Python {MINOR}: a pip constraints file for every extra that
# launch/*.sh installs. Written by `python{MINOR} third_party/lock.py`; not edited by hand.
"""

# Run inside the fresh environment: name, version and what the metadata and the files say.
COLLECT = """
import json
from importlib.metadata import distributions
rows = []
for d in distributions():
    m = d.metadata
    files = [f for f in d.files or [] if "licen" in f.name.lower() and "info" in f.parts[0]]
    rows.append({
        "name": m["Name"], "version": d.version,
        "expression": m.get("License-Expression") or "",
        "text": m.get("License") or "",
        "classifiers": [c.split(" :: ")[-1] for c in m.get_all("Classifier") or []
                        if c.startswith("License ::")],
        "file": files[0].read_text() if files else "",
    })
print(json.dumps(rows))
"""

# Metadata is free text; these are the spellings in use, each with its SPDX name.
SPDX = {
    "apache": "Apache-2.0",
    "apache 2": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache 2.0 license": "Apache-2.0",
    "apache license": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache license version 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "apache-2.0": "Apache-2.0",
    "bsd-3-clause": "BSD-3-Clause",
    "3-clause bsd license": "BSD-3-Clause",
    "bsd 3-clause": "BSD-3-Clause",
    "bsd-2-clause": "BSD-2-Clause",
    "simplified bsd": "BSD-2-Clause",
    "lgpl-2.1-or-later": "LGPL-2.1-or-later",
    "mit": "MIT",
    "mit license": "MIT",
    "the mit license (mit)": "MIT",
    "mit or afl-2.1": "MIT OR AFL-2.1",
    "isc license (iscl)": "ISC",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "mpl-2.0": "MPL-2.0",
    "mpl-2.0 and mit": "MPL-2.0 AND MIT",
    "python software foundation license": "PSF-2.0",
    "licenseref-nvidia-proprietary": "LicenseRef-NVIDIA-Proprietary",
    "nvidia proprietary software": "LicenseRef-NVIDIA-Proprietary",
    "google cloud platform terms of service": "LicenseRef-Google-Cloud-Terms",
    "dual license": "Apache-2.0 OR BSD-3-Clause",
}
# Words that tell licences apart when a package names its own only loosely ("BSD") or not at all.
IN_FILE = [
    (r"Apache License\s+Version 2\.0", "Apache-2.0"),
    (r"(Neither the name|endorse or promote)", "BSD-3-Clause"),
    (r"Redistributions in binary form", "BSD-2-Clause"),
    (r"Permission is hereby granted, free of charge", "MIT"),
]


def normal(name: str) -> str:
    """A distribution's name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def spdx(row: dict) -> tuple[str, str]:
    """The licence as an SPDX expression and where it was read; ("", "") if nothing names it."""
    if row["expression"]:
        return row["expression"], "License-Expression"
    text = row["text"].strip().lower()
    if text in SPDX:
        return SPDX[text], "License"
    known = {SPDX[c.lower()] for c in row["classifiers"] if c.lower() in SPDX}
    if known:
        return " OR ".join(sorted(known)), "Classifier"
    for words, licence in IN_FILE:
        if re.search(words, row["file"]):
            return licence, "file"
    return "", ""


def resolve(directory: Path, constraint: list[str]) -> list[dict]:
    """Installs the extras into a new environment under `directory` and lists what is in it."""
    venv.create(directory, with_pip=True, clear=True)
    python = directory / "bin" / "python"
    pip = [python, "-m", "pip", "install", "--quiet", *constraint]
    subprocess.run([*pip, "--upgrade", "pip", "setuptools"], check=True)
    subprocess.run([*pip, "--no-build-isolation", "--editable", f"{ROOT}[{EXTRAS}]"], check=True)
    # what a later `pip install torch` adds, so that the parity tests do not move the rest
    subprocess.run([*pip, "sympy", "networkx"], check=True)
    rows = json.loads(subprocess.check_output([python, "-c", COLLECT]))
    report = directory / "report.json"
    dry = [*pip, "--dry-run", "--report", str(report), "--no-build-isolation"]
    subprocess.run([*dry, "--editable", f"{ROOT}[{ACCELERATORS}]"], check=True)
    for found in json.loads(report.read_text())["install"]:
        about = found["metadata"]
        row = {"expression": "license_expression", "text": "license"}
        row = {key: about.get(field) or "" for key, field in row.items()}
        row |= {"name": about["name"], "version": about["version"], "classifiers": [], "file": ""}
        rows.append(row)
    return [row for row in rows if normal(row["name"]) != "synthdiv"]


def main() -> None:
    """Resolves, then writes the lock and the licences of this Python minor."""
    keep = sys.argv[1:] == ["--licences"]
    if sys.argv[1:] and not keep:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as directory:
        rows = resolve(Path(directory), ["--constraint", str(LOCK)] if keep else [])
    versions = {normal(row["name"]): row["version"].split("+")[0] for row in rows}
    versions["torch"] = TORCH
    LOCK.parent.mkdir(exist_ok=True)
    LOCK.write_text(HEAD + "".join(f"{n}=={v}\n" for n, v in sorted(versions.items())))

    entries = {}
    for row in rows:
        licence, source = spdx(row)
        name = normal(row["name"])
        entries[name] = {"version": versions[name], "licence": licence, "source": source}
    entries["torch"] = {"version": TORCH, "licence": TORCH_LICENCE, "source": "License-Expression"}
    everything = json.loads(LICENCES.read_text()) if LICENCES.exists() else {}
    everything[f"python{MINOR}"] = dict(sorted(entries.items()))
    LICENCES.write_text(json.dumps(everything, indent=1, sort_keys=True) + "\n")
    unread = [name for name, entry in entries.items() if not entry["licence"]]
    print(f"{LOCK}: {len(versions)} packages; no licence found for: {unread or 'none'}")


if __name__ == "__main__":
    main()
