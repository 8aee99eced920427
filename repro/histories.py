"""The learning curves that a report shows: read from the folders of the few cells that are chosen, whatever the matrix holds.

Must not know how curves are drawn. Read `gather_histories` first.
"""

from collections.abc import Sequence

from repro.analysis.curves import Histories, History, chosen_cells, thinned
from repro.analysis.results import Outcome
from repro.errors import CorruptFile
from repro.records import EPOCHS, check_file, read_epochs
from repro.workspace import Workspace


def gather_histories(outcomes: Sequence[Outcome], workspace: Workspace) -> Histories:
    """Read the training log of the chosen cells; one that cannot be read, or is not its record's, is left out and named.

    A cell that was logged once only (a head that is solved for) has no curve.
    """
    records = {outcome.row.id: outcome.record for outcome in outcomes}
    places, problems, num_left_out = [], [], 0
    for chosen in chosen_cells(outcome.row for outcome in outcomes):
        num_left_out += chosen.num_left_out
        histories = []
        for row in chosen.cells:
            record = records[row.id]
            if record is None:
                continue
            folder = workspace.run_dir(row.id, record.fingerprint)
            try:
                check_file(folder, record, EPOCHS)
                points = thinned(read_epochs(folder))
            except CorruptFile as error:
                message = workspace.without_home(error.message)
                problems.append(f"The learning curve of {row.id} is not shown: {message} Its results count.")
                continue
            if len(points) > 1:
                histories.append(History(row=row, points=points))
        if histories:
            places.append(tuple(histories))
    return Histories(places=tuple(places), num_left_out=num_left_out, problems=tuple(problems))
