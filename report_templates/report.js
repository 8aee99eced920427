// What the page can do with JavaScript, and is complete without: tables of class `sortable` sort by any column, and a link to a row
// in a folded table unfolds it. No dependency, no request; the page's policy allows this very text by its hash and nothing else.
"use strict";
(() => {
  const collator = new Intl.Collator("en", { numeric: true });
  const PREFIX = { k: 1e3, M: 1e6, G: 1e9, T: 1e12, P: 1e15, E: 1e18, Ki: 2 ** 10, Mi: 2 ** 20, Gi: 2 ** 30 };
  const UNIT_S = { h: 3600, min: 60, s: 1 };

  // "−1.4 [−2.0, −0.8]" -> -1.4, "3.41 TFLOP" -> 3.41e12, "1 min 05 s" -> 65; what is no number -> null.
  const number = (text) => {
    const plain = text.replace(/\u2212/g, "-").replace(/(\d),(?=\d{3})/g, "$1");
    const parts = [...plain.matchAll(/(\d+(?:\.\d+)?)\s*(h|min|s)\b/g)];
    if (parts.length) return parts.reduce((sum, part) => sum + part[1] * UNIT_S[part[2]], 0);
    const found = /^\s*([+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?)(?:\s*([kMGTPE]i?)(?=[A-Z]|\b))?/.exec(plain);
    return found ? found[1] * (PREFIX[found[2]] ?? 1) : null;
  };

  // The cell under each column; null under what one cell spans that says why there is no number.
  const cells = (row) => [...row.cells].flatMap((cell) => (cell.colSpan > 1 ? Array(cell.colSpan).fill(null) : [cell]));

  const sort = (table, column, isNumeric, direction) => {
    const body = table.tBodies[0];
    const key = (row) => {
      const text = cells(row)[column]?.textContent.trim() ?? "";
      return text === "" || text === "\u2013" ? null : isNumeric ? number(text) : text;
    };
    const keyed = table.inOrder.map((row) => [direction ? key(row) : 0, row]);
    const compare = isNumeric ? (a, b) => a - b : collator.compare;
    // Missing values come last either way; equal ones stay in the table's own order.
    if (direction) keyed.sort(([a], [b]) => (a === null || b === null ? (a === null) - (b === null) : direction * compare(a, b)));
    body.append(...keyed.map(([, row]) => row));
  };

  for (const table of document.querySelectorAll("table.sortable")) {
    if (table.tBodies.length !== 1 || table.tBodies[0].rows.length < 2) continue;
    table.inOrder = [...table.tBodies[0].rows];
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.title = "Sort by this column; a third time gives the order of the report";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const next = { ascending: "descending", descending: null }[head.ariaSort];
        const order = next === undefined ? "ascending" : next;
        for (const other of heads) other.removeAttribute("aria-sort");
        if (order) head.ariaSort = order;
        sort(table, column, head.classList.contains("number"), order === "ascending" ? 1 : order ? -1 : 0);
      });
    });
  }

  // Browsers unfold by themselves only since lately.
  const unfold = () => {
    const target = document.getElementById(location.hash.slice(1));
    for (let node = target; node; node = node.parentElement) if (node.tagName === "DETAILS") node.open = true;
    if (target) target.scrollIntoView();
  };
  addEventListener("hashchange", unfold);
  if (location.hash) unfold();
})();
