"""The report's first sentence: what the run found, from the verdicts alone and never stronger than they are.

Must not know numbers, figures or the page. Read `headline` first.
"""

from collections import defaultdict

from repro.analysis.results import ClaimResult, Results, Verdict
from repro.formatting import count, enumeration
from repro.records import CellStatus

MOST_NAMED = 2
"""Claims of one verdict that the headline quotes; more are counted instead."""


def headline(results: Results) -> str:
    """One sentence that says what the run found, from the verdicts alone and never stronger than they are."""
    num_done = sum(row.status is CellStatus.DONE for row in results.cells)
    if num_done == 0:
        return f"Nothing is measured yet: none of the {count(len(results.cells))} cells of this profile is finished."
    num_cells = len(results.cells)
    opening = "" if num_done == num_cells else f"so far, with {count(num_done)} of {count(num_cells)} cells finished, "
    if not results.claims:
        return _capitalised(f"{opening}this run reaches no verdict: it shows measurements only.")
    # The sentence is about ViT against CNN: what ViTs look like from within stands in it only where there is nothing else.
    on_accuracy = tuple(result for result in results.claims if not result.claim.measure.is_of_the_inside)
    claims = on_accuracy or results.claims
    tested = "claims tested" if len(claims) == len(results.claims) else "accuracy claims tested"
    opening += f"{'in miniature and ' if results.miniature else ''}on {_datasets(claims)}, this run "
    statements = _statements_by_verdict(claims)
    total = sum(len(found) for found in statements.values())
    parts: list[str] = []
    for verdict, verb, conjunction in _VERBS:
        if found := statements[verdict]:
            how = {"is_counted": any(part.endswith(tested) for part in parts), "is_all": len(found) == total}
            parts.append(_clause(verb, conjunction, found, f"{total} {tested}", **how))
    return _capitalised(opening + enumeration(parts) + ".")


_VERBS: tuple[tuple[Verdict | None, str, str], ...] = (
    (Verdict.SUPPORTED, "supports", "that"),
    (Verdict.CONTRADICTED, "contradicts", "that"),
    (Verdict.INCONCLUSIVE, "leaves open", "whether"),
    (None, "gives different verdicts in different comparisons on", "whether"),
)
"""What is said of claims by their verdict; None: one that differs between comparisons."""


def _clause(verb: str, conjunction: str, statements: list[str], tested: str, *, is_counted: bool, is_all: bool) -> str:
    """A verdict's claims, quoted where they are few; how many were `tested` is said once."""
    if len(statements) > MOST_NAMED:
        if is_counted:
            return f"{verb} {len(statements)}"
        return f"{verb} {'all' if is_all else f'{len(statements)} of the'} {tested}"
    return f"{verb} {enumeration([f'{conjunction} {_inside_a_sentence(text)}' for text in statements])}"


def _statements_by_verdict(claims: tuple[ClaimResult, ...]) -> dict[Verdict | None, list[str]]:
    """Each claim's statement once, under its verdict; under None where its comparisons differ."""
    verdicts: dict[str, set[Verdict | None]] = defaultdict(set)
    statements: dict[str, str] = {}
    for result in claims:
        verdicts[result.id].add(result.verdict)
        statements[result.id] = result.claim.short or result.statement
    sorted_out: dict[Verdict | None, list[str]] = {verdict: [] for verdict in (*Verdict, None)}
    for claim_id, found in verdicts.items():
        sorted_out[found.pop() if len(found) == 1 else None].append(statements[claim_id])
    return sorted_out


def _inside_a_sentence(statement: str) -> str:
    """A statement without its final full stop and, unless it begins with a name like ViT, without its capital."""
    text = statement.strip().rstrip(".")
    first = text.split(" ", 1)[0]
    return text if first[1:] != first[1:].lower() or len(first) < 2 else text[0].lower() + text[1:]


def _capitalised(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def _datasets(claims: tuple[ClaimResult, ...]) -> str:
    names = list(dict.fromkeys(result.dataset for result in claims))
    return enumeration(names) if len(names) <= MOST_NAMED else f"{len(names)} data sets"
