"""One cell from end to end: its model with its weights (`start`), its files (`files`), and the run itself (`run`).

Must not know the matrix, other cells or who asks. Read `run_cell` in `run` first.
"""

from repro.cell.run import run_cell

__all__ = ["run_cell"]
