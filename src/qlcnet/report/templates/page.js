// Click or press Enter on a header to sort by its column, again to turn the order round.
(() => {
  const valueOf = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.value === undefined ? cell.textContent.trim() : Number(cell.dataset.value);
  };
  // Numbers before text, undefined values (dashes) always last.
  const compare = (a, b) => {
    if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
    return typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true });
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    const headers = [...table.tHead.rows[0].cells];
    headers.forEach((header, column) => {
      header.querySelector("button").addEventListener("click", () => {
        const ascending = header.getAttribute("aria-sort") !== "ascending";
        headers.forEach((other) => other.removeAttribute("aria-sort"));
        header.setAttribute("aria-sort", ascending ? "ascending" : "descending");
        const body = table.tBodies[0];
        const rows = [...body.rows].map((row) => ({ row, value: valueOf(row, column) }));
        rows.sort((a, b) => {
          if (typeof a.value !== typeof b.value) return compare(a.value, b.value);
          return (ascending ? 1 : -1) * compare(a.value, b.value);
        });
        body.append(...rows.map(({ row }) => row));
      });
    });
  }
  // Folded parts: one button a section, and nothing stays folded on paper.
  for (const button of document.querySelectorAll("button.all")) {
    const parts = [...button.parentElement.querySelectorAll("details")];
    button.addEventListener("click", () => {
      const open = button.getAttribute("aria-expanded") !== "true";
      parts.forEach((part) => { part.open = open; });
      button.setAttribute("aria-expanded", open);
      button.textContent = open ? "Close all" : "Open all";
    });
  }
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((part) => { part.open = true; }));
})();
