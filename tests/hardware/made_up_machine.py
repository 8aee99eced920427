"""Runs the command line on a machine that is made up: `made_up_machine.py DESCRIPTION ARGUMENT…`.

The description is JSON: `root`, a folder that stands for `/` where the system's files and a container's marks are looked for;
`probe`, the program that answers in the place of torch; `timeout_s`, how long it may take. Everything else is the real command.
"""

import json
import sys
from pathlib import Path

from repro.cli import main
from repro.hardware import cuda, inspection

if __name__ == "__main__":
    description = json.loads(sys.argv.pop(1))
    if "root" in description:
        inspection.ROOT = Path(description["root"])
    if "probe" in description:
        cuda.PROBE_COMMAND = tuple(description["probe"])
    if "timeout_s" in description:
        cuda.TIMEOUT_S = description["timeout_s"]
    main()
